#!/usr/bin/env bash
# muxproxy with Apple's container (macOS 26): the commands, run one after the other.
#   scripts/apple-container-commands.sh [up|down|logs|build]      DRY_RUN=1 only prints them
# Each container has an address of its own there, so the sidecar cannot share the app's loopback: it
# listens for the others and wants a key (APP_KEY; one is made when none is set).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

key=${APP_KEY:-$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')}

run() {
  # What is printed must not hold the key.
  printf '+' >&2
  for word in "$@"; do printf ' %s' "${word//$key/APP_KEY}" >&2; done
  printf '\n' >&2
  if [ -z "${DRY_RUN:-}" ]; then "$@"; fi
}

address() {
  if [ -n "${DRY_RUN:-}" ]; then echo "ADDRESS-OF-$1"; return; fi
  container inspect "$1" | sed -n 's/.*"address" *: *"\([0-9.]*\).*/\1/p' | head -n 1
}

build() { run container build --tag muxproxy --file Containerfile .; }

up() {
  build
  run container run --detach --name muxproxy-providers muxproxy sim --listen 0.0.0.0:9000
  providers=$(address muxproxy-providers)
  run container run --detach --name muxproxy --publish 127.0.0.1:8787:8787 \
    --env MUXPROXY_LISTEN=0.0.0.0:8787 --env "ALLOWED_API_KEYS=$key" \
    --env MUXPROXY_CONFIG=/etc/muxproxy/container.yaml \
    --env "OPENAI_UPSTREAM=${OPENAI_UPSTREAM:-http://$providers:9000/v1}" \
    --env "ANTHROPIC_UPSTREAM=${ANTHROPIC_UPSTREAM:-http://$providers:9000}" \
    --env "GEMINI_UPSTREAM=${GEMINI_UPSTREAM:-http://$providers:9000}" \
    --env "OPENAI_API_KEY=${OPENAI_API_KEY:-simulated}" \
    --env "ANTHROPIC_API_KEY=${ANTHROPIC_API_KEY:-simulated}" \
    --env "GEMINI_API_KEY=${GEMINI_API_KEY:-simulated}" \
    muxproxy
  if [ -z "${APP_KEY:-}" ]; then echo "made a key for your app: $key" >&2; fi
  echo "OPENAI_BASE_URL=http://127.0.0.1:8787/v1 OPENAI_API_KEY=<that key>" >&2
}

down() {
  run container delete --force muxproxy
  run container delete --force muxproxy-providers
}

case "${1:-up}" in
  up | down | build) "${1:-up}" ;;
  logs) run container logs --follow muxproxy ;;
  *) echo "usage: scripts/apple-container-commands.sh [up|down|logs|build]" >&2; exit 2 ;;
esac
