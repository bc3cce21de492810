const SVG = "http://www.w3.org/2000/svg";
const LINES = ["step", "again", "first", "second"];

const make = (name, attributes, parent, text) => {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text) node.textContent = text;
  parent.append(node);
  return node;
};

const short = (value) => Number(value.toPrecision(value >= 100 ? 3 : 2)).toLocaleString("en");
const time = (s) => (s >= 1 ? `${short(s)} s` : s >= 1e-3 ? `${short(s * 1e3)} ms` : `${short(s * 1e6)} µs`);
const count = (n) => (n === 1 ? "1 event" : `${n.toLocaleString("en")} events`);

// Between two measured lengths both axes are read as the picture draws them: a straight line of logarithms.
function at(points, n) {
  const right = points.findIndex(([length]) => length >= n);
  if (right <= 0) return points[Math.max(right, 0) || (right < 0 ? points.length - 1 : 0)][1];
  const [[n0, t0], [n1, t1]] = [points[right - 1], points[right]];
  return t0 * (t1 / t0) ** (Math.log(n / n0) / Math.log(n1 / n0));
}

function build(parent) {
  const root = document.createElement("div");
  root.className = "dr-picture";
  root.innerHTML =
    '<p class="dr-said" role="status"></p><svg role="img"></svg>' +
    '<label class="dr-slide"><span></span><input type="range" min="0" max="1000" step="1"></label>' +
    '<p class="dr-spread"></p>';
  parent.append(root);
  return root;
}

export default function ({ data, parentElement, setStateValue }) {
  const root = parentElement.querySelector(".dr-picture") ?? build(parentElement);
  const [said, svg, label, input, spread] =
    [".dr-said", "svg", ".dr-slide span", "input", ".dr-spread"].map((name) => root.querySelector(name));
  const most = data.most, lines = data.lines;
  // Round lengths read better than the slider's exact ones.
  const toLength = (value) => Number((most ** (value / 1000)).toPrecision(2));
  const toValue = (n) => Math.round((1000 * Math.log(n)) / Math.log(most));
  if (!root.dataset.moved) input.value = toValue(data.start);
  input.ariaLabel = "Events in the history";
  const all = lines.flatMap((line) => line.points.map(([, seconds]) => seconds));
  const low = Math.min(...all) / 2.3, high = Math.max(...all) * 1.5;

  function draw() {
    const width = root.clientWidth || 600, narrow = width < 480;
    const height = narrow ? 205 : 250, left = 46, right = narrow ? 12 : 16, top = 14, bottom = 24;
    const x = (n) => left + ((width - left - right) * Math.log(n)) / Math.log(most);
    const y = (s) => top + ((height - top - bottom) * Math.log(high / s)) / Math.log(high / low);
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    svg.setAttribute("width", width);
    svg.setAttribute("height", height);
    svg.replaceChildren();
    for (let power = Math.ceil(Math.log10(low)); 10 ** power < high; power++) {
      make("line", { x1: left, x2: width - right, y1: y(10 ** power), y2: y(10 ** power), class: "dr-grid-line" }, svg);
      make("text", { x: left - 6, y: y(10 ** power) + 4, class: "dr-axis dr-end" }, svg, time(10 ** power));
    }
    for (const n of [1, 10, 100, 1000].filter((length) => length <= most))
      make("text", { x: x(n), y: height - 6, class: "dr-axis dr-middle" }, svg, n === 1 ? "1 event" : n.toLocaleString("en"));
    const taken = [];
    lines.forEach((line, place) => {
      const kind = LINES[place], path = line.points.map(([n, s]) => `${x(n)},${y(s)}`).join(" ");
      make("polyline", { points: path, class: `dr-line dr-${kind}` }, svg);
      const name = narrow ? line.short : line.name;
      const n = place === 0 ? 1.15 : line.window && line.window < most ? Math.min(line.window * 0.9, most) : most / 1.05;
      // The step's name stands at the left, the others' at the right: above or below, wherever there is more room.
      const end = place === 0 ? "" : "dr-end", own = y(at(line.points, n));
      const others = lines.filter((other) => other !== line).map((other) => y(at(other.points, n)));
      const names = taken.filter(([side]) => side === end).map(([, other]) => other);
      const room = (middle) => Math.min(...[...others, ...names].map((other) => Math.abs(other - middle)));
      const above = own - 8, below = own + 17;
      const height0 = above > 12 && room(above - 4) >= Math.min(room(below - 4), 12) ? above : below;
      taken.push([end, height0 - 4]);
      make("text", { x: x(n), y: height0, class: `dr-name dr-${kind} ${end}` }, svg, name);
    });
    const n = toLength(input.value);
    make("line", { x1: x(n), x2: x(n), y1: top, y2: height - bottom, class: "dr-here" }, svg);
    lines.forEach((line, place) =>
      make("circle", { cx: x(n), cy: y(at(line.points, n)), r: place < 2 ? 6 : 4, class: `dr-dot dr-${LINES[place]}` }, svg));
    const [step, again] = lines.map((line) => at(line.points, n));
    const bold = (kind, text) => Object.assign(document.createElement("b"), { className: `dr-${kind}`, textContent: text });
    const ratio = again / step;
    const verdict = ratio >= 1.95 ? `${ratio.toFixed(0)}x faster` : ratio >= 1.05 ? `${ratio.toFixed(1)}x faster` : "no gain yet";
    said.replaceChildren(
      "After ", count(n), ": ", bold("step", `one step ${time(step)}`), ", ",
      bold("again", `reading it all again ${time(again)}`), ": ", bold("ratio", data.steps ? verdict : "no step"), ".");
    const near = ([length]) => length >= n / 3 && length <= n * 3;
    const wild = lines.slice(0, 2).some((line) => line.points.filter(near).some(([, p50, p95]) => p95 > data.wild * p50));
    if (wild) said.append(" ", bold("wild", data.unreliable));
    label.textContent = `History: ${count(n)}`;
    const [late, later] = lines.map((line) => at(line.points.map(([length, , p95]) => [length, p95]), n));
    spread.textContent = `In 95 of 100 calls: within ${time(late)} and ${time(later)}.`;
    svg.setAttribute("aria-label", said.textContent);
  }

  input.oninput = () => { root.dataset.moved = "1"; draw(); };
  root.watcher?.disconnect();
  root.watcher = new ResizeObserver(draw);
  root.watcher.observe(root);
  draw();
  return () => root.watcher?.disconnect();
}
