#!/bin/sh
# Runs its arguments as nobody in particular, who may write where the log is kept. A volume comes
# owned by root, and only root can give it away; so the container starts as root and goes on as not.
set -eu
folder=$(dirname "${BRIDGE_LOG#sqlite:///}")
if [ "$(id -u)" = 0 ]; then
  if [ -d "$folder" ]; then
    chown -R 65532:65532 "$folder"
  fi
  exec setpriv --reuid=65532 --regid=65532 --clear-groups --no-new-privs "$@"
fi
exec "$@"
