#!/bin/sh
# Runs its arguments as user 65532, who may write the log. A volume belongs to root at first, and
# only root can give it away: the container starts as root and continues as 65532.
set -eu

# Heroku, Render and Cloud Run name the port in PORT. Another BRIDGE_PORT than the image's wins.
if [ -n "${PORT:-}" ] && [ "${BRIDGE_PORT:-8080}" = 8080 ]; then
  BRIDGE_PORT=$PORT
  export BRIDGE_PORT
fi

if [ "$(id -u)" != 0 ]; then
  exec "$@"
fi

as_bridge() {
  setpriv --reuid=65532 --regid=65532 --clear-groups --no-new-privs "$@"
}

# Whether there is nothing in the folder but the log's files: $1 is the folder, $2 the log's name
# without its ending.
has_only_the_log() {
  for entry in "$1"/* "$1"/.[!.]*; do
    case "${entry##*/}" in
      "$2" | "$2".* | "$2"-* | '*' | '.[!.]*' | lost+found) ;;
      *) return 1 ;;
    esac
  done
}

# Give away the folder of the log and the log's files, nothing else and nothing below: the folder
# has to be a mount, or to hold the log alone.
give_away() {
  case "$1" in
    /*) path=$1 ;;
    *) path=$PWD/$1 ;;
  esac
  [ -d "$(dirname "$path")" ] || return 0
  folder=$(cd "$(dirname "$path")" && pwd -P)
  name=$(basename "$path")
  name=${name%.*}
  [ "$folder" != / ] || return 0
  if [ "$(stat -c %m "$folder")" = / ] && ! has_only_the_log "$folder" "$name"; then
    return 0
  fi
  if ! as_bridge test -w "$folder"; then
    chown 65532:65532 "$folder" || true
  fi
  for file in "$folder/$name" "$folder/$name".* "$folder/$name"-*; do
    if [ -f "$file" ] && [ ! -L "$file" ]; then
      chown 65532:65532 "$file" || true
    fi
  done
}

case "${BRIDGE_LOG:=sqlite:///bridge.sqlite3}" in
  sqlite:///?*) give_away "${BRIDGE_LOG#sqlite:///}" ;;
esac
exec setpriv --reuid=65532 --regid=65532 --clear-groups --no-new-privs "$@"
