# Brings versions from the bucket into /models/digits.  `once` ends when one is there; `always` looks every minute.
# A version is fetched beside its place and then renamed into it: the server never sees half of one.
set -eu
to=${MODEL_FOLDER:-/models/digits}
case $1 in
  once)
    folders=$(rclone lsf --dirs-only "$MODEL_SOURCE")
    for folder in $folders; do
      version=${folder%/}
      case $version in *[!0-9]*) continue ;; esac
      [ -d "$to/$version" ] && continue
      # published last by whoever uploads: without it the version is still on its way
      rclone lsf "$MODEL_SOURCE/$version/fingerprint.pb" >/dev/null 2>&1 || continue
      rm -rf "$to/.$version"
      rclone copy --quiet "$MODEL_SOURCE/$version" "$to/.$version"
      mv "$to/.$version" "$to/$version"
      echo "version $version is here"
    done
    ls -d "$to"/[0-9]* >/dev/null
    ;;
  # A process of its own each time: on the left of `||` a function's `set -e` does not count, and what was fetched by half
  # would be renamed all the same.
  always) while true; do sleep 60; sh "$0" once || echo "the bucket did not answer; trying again in a minute" >&2; done ;;
esac
