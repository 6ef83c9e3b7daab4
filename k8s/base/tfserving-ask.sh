# Asks the model in this pod for a digit; exit status 0 if it answers.  For bash, which is all that TensorFlow
# Serving's image has for the purpose.
#   ask.sh right     the answer must be right (before the pod gets any traffic)
#   ask.sh answered  any answer will do, and so will "my queue is full": a busy pod still works, and taking it
#                    away would load the others with its share
#   ask.sh version   prints the version that answers (tools/rollout_kubernetes.py)
# MODEL_PATH: what is asked, for example /v1/models/digits/labels/stable
set -u
one=iVBORw0KGgoAAAANSUhEUgAAABwAAAAcAQAAAABaduI5AAAAHElEQVR42mP8z8DwkYmBgYEBmfiJyqUJwY4hBgCNrAMo4XAYyAAAAABJRU5ErkJggg== # a drawn 1
path=${MODEL_PATH:-/v1/models/digits}
body='{"signature_name": "drawings", "instances": [{"b64": "'$one'"}]}'
headers='Host: localhost\r\nConnection: close\r\n'

exec 3<>"/dev/tcp/127.0.0.1/${REST_PORT:-8501}" || exit 1
if [ "$1" = version ]; then
  printf "GET %s/metadata HTTP/1.1\r\n$headers\r\n" "$path" >&3
else
  printf "POST %s:predict HTTP/1.1\r\n${headers}Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" \
    "$path" "${#body}" "$body" >&3
fi
answer=$(cat <&3)
status=${answer:9:3}

case "$1 $status" in
  "right 200") [[ $answer =~ \"digit\":\ 1[^0-9] ]] ;;  # a comma or a new line: the outputs have no fixed order
  "answered 200") [[ $answer =~ '"digit": ' ]] ;;
  "answered 503") [[ $answer =~ 'queue' ]] ;;
  "version 200") [[ $answer =~ \"version\":\ ?\"([0-9]+)\" ]] && echo "${BASH_REMATCH[1]}" ;;
  *) false ;;
esac || { echo "wanted $1, got ${answer:0:400}" >&2; exit 1; }
