/**
 * The transport over a WebSocket. A transport is a function that opens one connection, and returns what sends and closes:
 * `on.frame(text)` is called for each message of the server, `on.close(code, reason)` once, at the end, whoever ended it.
 * `hello` is the frame `connect`, which says who the client is and what it has; `query` what must stand in the URL.
 */
export function websocket({ url, query, hello }, on) {
  const socket = new WebSocket(url.replace(/^http/, "ws") + "/v1/ws" + query, ["sluice.v1.json"]);
  socket.onopen = () => socket.send(JSON.stringify(hello));
  socket.onerror = () => on.close(1006); // Node tells no close of what did not open
  socket.onmessage = (e) => on.frame(e.data);
  socket.onclose = (e) => on.close(e.code, e.reason);
  return { send: (text) => socket.send(text), close: () => socket.close(1000) };
}
