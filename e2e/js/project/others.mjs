// Clients that others have made.
export { EventSource } from "eventsource";
export { default as ReconnectingWebSocket } from "reconnecting-websocket";
export { WebSocket } from "ws";
