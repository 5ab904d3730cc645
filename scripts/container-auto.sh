#!/usr/bin/env bash
# Build and run container-compose.yaml with whichever container engine is here.
#   scripts/container-auto.sh [up|down|logs|build|which] [--dry-run]
# Order: docker, podman, nerdctl, Apple container. ENGINE=podman chooses one.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

action=up dry=
for word in "$@"; do
  case "$word" in
    up | down | logs | build | which) action=$word ;;
    --dry-run) dry=1 ;;
    *) echo "usage: scripts/container-auto.sh [up|down|logs|build|which] [--dry-run]" >&2; exit 2 ;;
  esac
done

run() {
  echo "+ $*" >&2
  if [ -z "$dry" ]; then "$@"; fi
}

# An engine counts when it answers: a client without its daemon does not.
works() {
  case "$1" in
    container) command -v container >/dev/null && container system status >/dev/null 2>&1 ;;
    *) command -v "$1" >/dev/null && "$1" info >/dev/null 2>&1 ;;
  esac
}

engine=${ENGINE:-}
if [ -z "$engine" ]; then
  for candidate in docker podman nerdctl container; do
    if works "$candidate"; then engine=$candidate; break; fi
  done
fi
if [ -z "$engine" ]; then
  echo "no container engine answers (docker, podman, nerdctl, Apple container)" >&2
  exit 1
fi
if [ "$action" = which ]; then echo "$engine"; exit 0; fi

if [ "$engine" = container ]; then
  # Apple's has no compose and no shared network namespace: a script of its own.
  if [ -n "$dry" ]; then export DRY_RUN=1; fi
  exec scripts/apple-container-commands.sh "$action"
fi

compose=("$engine" compose)
if ! "${compose[@]}" version >/dev/null 2>&1; then
  if command -v "$engine-compose" >/dev/null; then
    compose=("$engine-compose")
  else
    echo "$engine is here, but neither '$engine compose' nor '$engine-compose'" >&2
    exit 1
  fi
fi
file=(-f container-compose.yaml)
case "$action" in
  up) run "${compose[@]}" "${file[@]}" up --build --detach
      echo "running; its calls: scripts/container-auto.sh logs" >&2 ;;
  down) run "${compose[@]}" "${file[@]}" down ;;
  logs) run "${compose[@]}" "${file[@]}" logs --follow ;;
  build) run "${compose[@]}" "${file[@]}" build ;;
esac
