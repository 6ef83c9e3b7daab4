// Copies what the page serves from the locked npm packages: `npm ci && npm run vendor`.
import { copyFileSync, readFileSync, writeFileSync } from "node:fs";

const to = "webapp/static/vendor";
const css = readFileSync("node_modules/bootstrap/dist/css/bootstrap.min.css", "utf8");
writeFileSync(`${to}/bootstrap.min.css`, css.replace(/\/\*# sourceMappingURL=.*\n?/, ""));

const font = "node_modules/@fontsource-variable/figtree";
copyFileSync(`${font}/files/figtree-latin-wght-normal.woff2`, `${to}/figtree.woff2`);
copyFileSync(`${font}/LICENSE`, `${to}/figtree-LICENSE.txt`);
