// The list of frames of a client, newest first.

const MOST_ROWS = 300;
const MOST_TEXT = 1000; // characters shown of one frame: 300 rows of 64 KiB would be 20 MiB of page
const DRAW_MS = 50; // events can come by thousands a second; only what can be seen is drawn

/** An element with a class and a text. Text never becomes HTML, whatever is in it. */
export function element(name, className = "", text = "") {
  const e = document.createElement(name);
  if (className) e.className = className;
  e.append(text);
  return e;
}

const short = (text = "") => (text.length > MOST_TEXT ? text.slice(0, MOST_TEXT) + "…" : text);

/** Shows frames in list, an <ol>, and their number in count. */
export function createFrames(list, count) {
  let waiting = [];
  let total = 0;
  let drawn = 0;

  function row({ frame, sent, mark, at }) {
    const { type, to, id, event, data, ref, prev, enc, from, ...rest } = frame;
    const li = element("li", sent ? "sent" : "");
    li.dataset.type = type;
    li.dataset.to = to ?? "";
    if (mark) li.dataset.mark = mark;
    const kind = element("span", "kind", sent ? "↑ " : "");
    kind.append(element("b", "", type), event && event !== "message" ? " " + short(event) : "");
    if (mark) kind.append(" ", element("em", "mark", mark));
    const body = data === undefined ? (Object.keys(rest).length ? JSON.stringify(rest) : "") : JSON.stringify(data);
    li.append(element("time", "", new Date(at).toLocaleTimeString("en-GB") + "." + String(at % 1000).padStart(3, "0")), kind,
      element("span", "to", to ?? ""), element("span", "id", id ?? ""), element("span", "data", short(body)));
    return li;
  }

  function draw() {
    drawn = 0;
    list.prepend(...waiting.map(row).reverse());
    waiting = [];
    while (list.children.length > MOST_ROWS) list.lastChild.remove();
    count.textContent = total + (total > MOST_ROWS ? ", the newest " + MOST_ROWS + " are shown" : "");
  }

  return {
    /** Shows a frame that was sent or has come; mark is a word about it. */
    show(frame, { sent = false, mark } = {}) {
      total++;
      waiting.push({ frame, sent, mark, at: Date.now() });
      if (waiting.length > MOST_ROWS) waiting.shift();
      drawn ||= setTimeout(draw, DRAW_MS);
    },
    clear() {
      total = 0;
      waiting = [];
      list.replaceChildren();
      count.textContent = "none yet";
    },
  };
}
