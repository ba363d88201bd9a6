// The hooks with a real React and a client that only notes what is asked of it.
import assert from "node:assert/strict";
import { act, createElement as h, StrictMode } from "react";
import { create } from "react-test-renderer";
import { useSluiceState, useSubscription } from "@sluice/client/react";

globalThis.IS_REACT_ACT_ENVIRONMENT = true;

const asked = [];
const listeners = new Set();
const sluice = {
  state: "connecting",
  on: (type, f) => (listeners.add(f), () => listeners.delete(f)),
  subscribe(to, handler, { after, signal }) {
    const ready = new Promise((_, refuse) => asked.push({ to, handler, after, signal, refuse }));
    return { ready };
  },
};
const living = () => asked.filter((a) => !a.signal.aborted);
const got = [];
const Room = ({ to, label }) => {
  const refused = useSubscription(sluice, to, (event) => got.push(label + event), { after: "earliest" });
  const state = useSluiceState(sluice);
  return `${state} ${refused?.code ?? ""}`;
};
const page = (to, label) => h(StrictMode, null, h(Room, { to, label }));

let root;
await act(() => (root = create(page("topic:a", "first "))));
assert.deepEqual(living().map((a) => [a.to, a.after]), [["topic:a", "earliest"]]);
await act(() => root.update(page("topic:a", "second ")));
assert.equal(living().length, 1, "another handler is no other subscription");
living()[0].handler(1);
assert.deepEqual(got, ["second 1"], "the latest handler is called");
await act(() => root.update(page("topic:b", "third ")));
assert.deepEqual(living().map((a) => a.to), ["topic:b"]);
await act(() => {
  sluice.state = "connected";
  for (const f of listeners) f();
});
assert.equal(root.toJSON(), "connected ");
await act(() => living()[0].refuse({ code: "forbidden" }));
assert.equal(root.toJSON(), "connected forbidden");
await act(() => root.update(page(undefined, "")));
assert.deepEqual(living(), []);
await act(() => root.unmount());
assert.equal(listeners.size, 0);
