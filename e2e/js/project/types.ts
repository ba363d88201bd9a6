// What the types of the client allow, and what they do not: checked by tsc, never run.
import { Sluice, SluiceError, websocket, type Gap, type SluiceEvent, type Transport } from "@sluice/client";
import { Sluice as BothDoors, stream } from "@sluice/client/stream";
import { serve, SluiceError as TabsError, tabs } from "@sluice/client/tabs";
import { useSluiceState, useSubscription } from "@sluice/client/react";

type App = { chat: { text: string }; typing: { who: string } };

const sluice = new Sluice<App>({
  url: "https://events.example.com",
  getToken: async ({ signal, expired }) => (await fetch(`/token?fresh=${expired}`, { signal })).text(),
  topics: ["room-1"],
  onEvent: (event) => console.log(event.from),
  onGap: async (gap: Gap) => console.log(gap.reason === "trimmed"),
  device: "phone-1",
  storage: sessionStorage,
  backoff: { max: 60_000 },
});

sluice.subscribe("topic:room-1", (event) => {
  if (event.event === "chat") event.data.text.toUpperCase();
  else event.data.who.toUpperCase();
  // @ts-expect-error: not every event has a text
  event.data.text;
});

for await (const event of sluice.subscribe("all", { after: "earliest", signal: AbortSignal.timeout(1000) })) {
  const id: string | undefined = event.id;
  console.log(id);
}

const published = await sluice.publish("topic:room-1", { text: "hi" }, { event: "chat", signal: AbortSignal.timeout(1000) });
const duplicate: boolean = published.duplicate;
// @ts-expect-error: a chat has a text
await sluice.publish("topic:room-1", { who: "me" }, { event: "chat" });
// @ts-expect-error: there is no such event
await sluice.publish("topic:room-1", {}, { event: "nothing" });

sluice.on("state", ({ state, retryInMs }) => console.log(state === "waiting" && retryInMs, duplicate));
sluice.on("error", ({ error }) => console.log(error instanceof SluiceError && error.code));
// @ts-expect-error: there is nothing of this name
sluice.on("nothing", () => {});
// @ts-expect-error: it needs a getToken
new Sluice({ url: "https://events.example.com" });

const untyped = new Sluice({ getToken: () => "token" });
untyped.subscribe("all", (event: SluiceEvent) => untyped.ack(event));
untyped.ack("all", "1-0");
await untyped.publish("topic:room-1", 7, { event: "any" });

const logged: Transport = (request, on) => websocket(request, { ...on, frame: (text) => on.frame(text) });

const streaming: Sluice<App> = new BothDoors<App>({ getToken: () => "token", transport: "sse" });
streaming.on("state", ({ transport, server }) => console.log(transport === "sse", server));
new BothDoors({ getToken: () => "token", transport: stream });
// @ts-expect-error: there is no such door
new BothDoors({ getToken: () => "token", transport: "polling" });
// @ts-expect-error: this one has no stream
new Sluice({ getToken: () => "token", transport: "sse" });

export function Room() {
  const refused = useSubscription(sluice, "topic:room-1", (event) => void event.event, { onGap: () => {} });
  const state = useSluiceState(sluice);
  return refused?.code ?? state + String(logged);
}

const { text }: { text: string } = await sluice.call("chat.say", { text: "hi" }, { id: "k-1", timeout: 1000, signal: AbortSignal.timeout(1000) });
const count = await sluice.call<number>("count");
// @ts-expect-error: it is a number
count.toUpperCase(text);

serve(sluice, { patience: 5000 });
const shared: Sluice<App> = tabs(() => new SharedWorker("/worker.js", { type: "module" }), () => sluice);
shared.on("error", ({ error }) => console.log(error instanceof TabsError && error.code));
shared.subscribe("topic:room-1", () => {}, { onGap: ({ reason }) => console.log(reason === "late") });
// @ts-expect-error: it is called again when a worker has ended
tabs(new SharedWorker("/worker.js"), () => sluice);
