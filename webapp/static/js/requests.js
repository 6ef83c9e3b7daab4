// The question just asked, written out for curl, grpcurl and Python: each can be copied and run as it stands.

const PIXELS = 28;

/**
 * @typedef {{origin: string, target: string, picture: string, pixels: string, model: string, type: string}} Parts
 *   target: host:port of the model server's gRPC API;
 *   picture: base64 of what was sent; pixels: base64 of the 28×28 bytes that the model saw
 */

/** @type {Record<string, (parts: Parts) => string>} */
export const WRITERS = {
  curl: ({ origin, picture, type }) => `curl -s ${origin}/api/predict -H 'Content-Type: application/json' -d @- <<'END'
{"image": "data:${type};base64,${picture}"}
END`,

  grpcurl: ({ origin, target, pixels, model }) => `curl -s ${origin}/serving.protoset -o serving.protoset
grpcurl -plaintext -protoset serving.protoset -d '{
  "modelSpec": {"name": "${model}", "signatureName": "serving_default"},
  "inputs": {"images": {
    "dtype": "DT_UINT8",
    "tensorShape": {"dim": [{"size": 1}, {"size": ${PIXELS}}, {"size": ${PIXELS}}]},
    "tensorContent": "${pixels}"
  }}
}' ${target} tensorflow.serving.PredictionService/Predict`,

  python: ({ origin, picture, type }) => `import base64, json, urllib.request

picture = base64.b64decode("${picture}")
request = urllib.request.Request("${origin}/api/predict", picture, {"Content-Type": "${type}"})
with urllib.request.urlopen(request) as response:
    print(json.load(response)["sentence"])`,
};

/**
 * @param {import("./asker.js").Shown} shown
 * @returns {Promise<Parts>}
 */
export async function parts({ answer, picture }) {
  const bytes = new Uint8Array(await picture.arrayBuffer());
  const pixels = await pixelsOf(answer.image);
  const target = document.querySelector("#request")?.getAttribute("data-target") ?? "";
  return { origin: location.origin, target, picture: base64(bytes), pixels: base64(pixels), model: answer.model.name, type: picture.type };
}

/**
 * Long base64 shortened to what fits on the screen.
 * @param {string} text
 */
export function abridged(text) {
  return text.replace(/([A-Za-z0-9+/]{20})[A-Za-z0-9+/]{40,}=*/g, "$1…");
}

/** @param {string} image  data URL */
async function pixelsOf(image) {
  const picture = new Image();
  picture.src = image;
  await picture.decode();
  const context = /** @type {OffscreenCanvasRenderingContext2D} */ (new OffscreenCanvas(PIXELS, PIXELS).getContext("2d"));
  context.drawImage(picture, 0, 0);
  return context.getImageData(0, 0, PIXELS, PIXELS).data.filter((_, at) => at % 4 === 0);
}

/** @param {Uint8Array | Uint8ClampedArray} bytes */
function base64(bytes) {
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return btoa(text);
}
