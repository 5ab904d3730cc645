"""A sample app: it knows nothing of muxproxy but the base URL in its environment."""

import json
import os
import time
import urllib.error
import urllib.request

BASE = os.environ.get("OPENAI_BASE_URL", "http://127.0.0.1:8787/v1")
QUESTIONS = ("Why is the sky blue?", "Debug this: def f(x): return x / 0", "Say hello.")


def ask(question: str) -> str:
    body = {"model": "auto", "max_tokens": 30, "messages": [{"role": "user", "content": question}]}
    request = urllib.request.Request(
        f"{BASE}/chat/completions", json.dumps(body).encode(), {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        found = json.load(answer)
        rule = answer.headers.get("x-muxproxy-rule")
    return f"{found['model']} (rule {rule}): {found['choices'][0]['message']['content'][:60]}"


def main() -> None:
    for number in range(int(os.environ.get("ROUNDS", "1000000"))):
        question = QUESTIONS[number % len(QUESTIONS)]
        try:
            print(f"{question} -> {ask(question)}")
        except (OSError, urllib.error.HTTPError) as error:  # the sidecar may still be starting
            print(f"{question} -> {error}")
        time.sleep(float(os.environ.get("EVERY", "5")))


if __name__ == "__main__":
    main()
