# Brings versions from the bucket into /models/digits.  `once` ends when one is there; `always` looks every minute.
# A version is fetched beside its place and then renamed into it: the server never sees half of one.
set -eu
fetch() {
  rclone lsf --dirs-only "$MODEL_SOURCE" | while read -r folder; do
    version=${folder%/}
    case $version in '' | *[!0-9]*) continue ;; esac
    [ -d "/models/digits/$version" ] && continue
    # published last by whoever uploads: without it the version is still on its way
    rclone lsf "$MODEL_SOURCE/$version/fingerprint.pb" >/dev/null 2>&1 || continue
    rm -rf "/models/digits/.$version"
    rclone copy --quiet "$MODEL_SOURCE/$version" "/models/digits/.$version"
    mv "/models/digits/.$version" "/models/digits/$version"
    echo "version $version is here"
  done
}
case $1 in
  once) fetch; ls -d /models/digits/[0-9]* ;;
  always) while true; do sleep 60; fetch || echo "the bucket did not answer; trying again in a minute" >&2; done ;;
esac
