// Default base URLs; the proxy variables are read by undici's agent, NODE_EXTRA_CA_CERTS by Node.
import { EnvHttpProxyAgent, fetch, setGlobalDispatcher } from "undici";

const agent = new EnvHttpProxyAgent();
setGlobalDispatcher(agent);
const messages = [{ role: "user", content: "Say hello" }];

const programs = {
  async openai() {
    const { default: OpenAI } = await import("openai");
    const client = new OpenAI({ fetch, maxRetries: 0 });
    const stream = await client.chat.completions.create({ model: "gpt-4o-mini", messages, stream: true });
    let text = "";
    for await (const chunk of stream) text += chunk.choices[0]?.delta?.content ?? "";
    return text;
  },
  async anthropic() {
    const { default: Anthropic } = await import("@anthropic-ai/sdk");
    const client = new Anthropic({ fetch, maxRetries: 0 });
    const answer = await client.messages.create({ model: "claude-x", max_tokens: 50, messages });
    return answer.content[0].text;
  },
  async fetch() {
    const answer = await fetch("https://api.openai.com/v1/chat/completions", {
      method: "POST",
      headers: { "content-type": "application/json", authorization: "Bearer sk-mine" },
      body: JSON.stringify({ model: "gpt-4o-mini", messages }),
    });
    return (await answer.json()).choices[0].message.content;
  },
};

console.log(await programs[process.argv[2]]());
await agent.close();
