// A function made of what others publish: the library of Standard Webhooks checks the signature, the SDK of CloudEvents reads the event.
import { HTTP } from "cloudevents";
import { createServer } from "node:http";
import { Webhook } from "standardwebhooks";

const webhook = new Webhook(process.env.SLUICE_FUNCTION_SECRET);

createServer(async (request, response) => {
  let body = "";
  for await (const part of request) body += part;
  try {
    webhook.verify(body, request.headers);
    const event = HTTP.toEvent({ headers: request.headers, body });
    event.validate();
    if (event.id !== request.headers["webhook-id"]) throw new Error("the event's id is not the webhook's");
    console.log("heard", event.type, event.subject, event.source, event.traceparent === request.headers.traceparent);
    response.end(JSON.stringify({ reply: { heard: event.data.data, by: event.type, at: event.time } }));
  } catch (error) {
    console.log("refused", error.message);
    response.writeHead(401).end();
  }
}).listen(9000, "127.0.0.1");
