const log = (window.deployrecLog ??= { page: Math.random().toString(36).slice(2), last: 0, clicks: [] });

const hash = (text) => [...text].reduce((sum, sign) => (sum * 31 + sign.codePointAt(0)) >>> 0, 7);

function cover(tile) {
  const seed = hash(tile.item + tile.title), hue = (hash(tile.kind || tile.title) * 137 + (seed % 50)) % 360;
  const words = tile.title.replace(/^(The|A|An) /, "").split(/[^\p{L}\p{N}]+/u).filter(Boolean);
  const node = document.createElement("span");
  node.className = "dr-cover";
  node.ariaHidden = "true";
  node.style.setProperty("--hue", hue);
  node.style.setProperty("--turn", `${seed % 180}deg`);
  node.style.setProperty("--x", `${15 + (seed >> 4) % 70}%`);
  node.style.setProperty("--y", `${10 + (seed >> 9) % 60}%`);
  node.style.setProperty("--size", `${24 + (seed >> 13) % 30}%`);
  node.textContent = words.slice(0, 2).map((word) => word[0].toUpperCase()).join("");
  return node;
}

function part(name, text) {
  const node = document.createElement("span");
  node.className = name;
  node.textContent = text;
  return node;
}

function draw(tile) {
  const button = document.createElement("button");
  button.className = "dr-tile";
  button.type = "button";
  button.dataset.item = tile.item;
  const words = document.createElement("span");
  words.className = "dr-words";
  words.append(part("dr-title", tile.title), part("dr-details", tile.details));
  button.append(cover(tile), part("dr-note", tile.note), words);
  return button;
}

export default function ({ data, parentElement, setStateValue }) {
  let list = parentElement.querySelector(".dr-tiles");
  if (!list) {
    list = document.createElement("div");
    parentElement.append(list);
    const take = (event) => {
      const button = event.target.closest("[data-item]");
      if (!button) return;
      log.clicks.push([++log.last, button.dataset.item]);
      button.classList.remove("dr-pressed");
      void button.offsetWidth;
      button.classList.add("dr-pressed");
      list.send({ page: log.page, clicks: log.clicks.slice() });
    };
    // A mouse press counts as it goes down: by the time it comes up another tile may lie under the pointer.
    list.addEventListener("pointerdown", (event) => {
      if (event.pointerType === "mouse" && event.button === 0) take(event);
    });
    list.addEventListener("click", (event) => {
      if (event.pointerType !== "mouse") take(event);
    });
  }
  list.className = `dr-tiles dr-${data.layout}`;
  list.send = (value) => setStateValue("log", value);
  if (data.taken[0] === log.page) log.clicks = log.clicks.filter(([number]) => number > data.taken[1]);
  const known = new Map([...list.children].map((node) => [node.dataset.item, node]));
  data.tiles.forEach((tile, place) => {
    const node = known.get(tile.item) ?? draw(tile);
    known.delete(tile.item);
    const note = node.querySelector(".dr-note");
    note.textContent = tile.note;
    note.className = `dr-note dr-${tile.mood}`;
    node.ariaLabel = [tile.note, tile.title, tile.details].filter(Boolean).join(", ");
    if (list.children[place] !== node) list.insertBefore(node, list.children[place] ?? null);
  });
  known.forEach((node) => node.remove());
}
