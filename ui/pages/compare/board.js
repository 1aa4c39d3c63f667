const RUNNING = ["sent", "planned", "waiting", "painting", "cell"];
let drawn = "";
let stopped = false;

// The frame of labels and empty cells, once per comparison.
function frame(value) {
  const key = JSON.stringify([value.x, value.y, value.width, value.height]);
  if (key === drawn) return;
  drawn = key;
  const grid = part("grid");
  grid.style.setProperty("--columns", value.columns);
  grid.style.setProperty("--aspect", `${value.width} / ${value.height}`);
  grid.dataset.rows = value.y ? "named" : "";
  const corner = make("div", "board-corner");
  if (value.y) corner.append(make("span", "", `${value.y.title} ↓`));
  corner.append(make("span", "", `${value.x.title} →`));
  const nodes = [corner, ...value.x.labels.map((label) => make("div", "board-x", label))];
  for (let row = 0; row < value.rows; row++) {
    nodes.push(make("div", "board-y", value.y ? value.y.labels[row] : ""));
    for (let column = 0; column < value.columns; column++) nodes.push(make("div", "board-cell"));
  }
  grid.replaceChildren(...nodes);
}

function about(value, i) {
  const column = i % value.columns, row = Math.floor(i / value.columns);
  const y = value.y ? `, ${value.y.title} ${value.y.labels[row]}` : "";
  return `${value.x.title} ${value.x.labels[column]}${y}`;
}

// A finished one can be opened alone.
function finished(cell, src, alt) {
  const image = picture(cell, src, alt, true);
  if (image.parentNode !== cell) return;
  const anchor = make("a");
  Object.assign(anchor, { href: src, target: "_blank", rel: "noopener", title: alt });
  anchor.append(image);
  cell.replaceChildren(anchor);
}

function fill(value) {
  frame(value);
  const cells = part("grid").querySelectorAll(".board-cell");
  value.painted.forEach((file, i) => finished(cells[i], file.url, about(value, i)));
  cells.forEach((cell, i) => cell.classList.toggle("now", value.status === "painting" && i === value.cell));
  if (value.status === "painting" && value.preview) picture(cells[value.cell], value.preview, "Preview", false);
}

const share = (value) => (value.cells ? (value.painted.length + (value.status === "painting" ? value.step / value.steps : 0)) / value.cells : 0);

function sentence(value) {
  if (value.status === "empty") return "Every picture of a comparison is the one that these settings paint alone.";
  if (value.status === "sent" || value.status === "planned") return "Sent …";
  if (value.status === "waiting") {
    const turn = value.place > 1 ? `after ${plural(value.place - 1, "other picture")}` : "next";
    return `Picture ${value.cell + 1} of ${value.cells}, in the queue: ${turn}.`;
  }
  if (value.status === "painting") return `Picture ${value.cell + 1} of ${value.cells}, step ${value.step} of ${value.steps}`;
  if (value.status === "cell") return `Picture ${value.cell + 1} of ${value.cells} is done.`;
  if (value.status === "cancelled") return "Stopped.";
  if (value.status === "done") return `${plural(value.cells, "picture")}. Click one to see it alone.`;
  return "";
}

function keep(value) {
  if (value.status !== "done") return part("keep").replaceChildren();
  const link = make("a", "link", "Download all on one sheet");
  Object.assign(link, { href: value.sheet.url, download: value.sheet.orig_name });
  part("keep").replaceChildren(link);
}

function show() {
  const value = props.value || { status: "empty" };
  // What was on its way when Cancel was pressed may still come in.
  if (value.status === "cancelled") stopped = true;
  else if (["sent", "done", "failed"].includes(value.status)) stopped = false;
  else if (stopped && RUNNING.includes(value.status)) return void (props.value = { ...value, status: "cancelled" });
  const running = RUNNING.includes(value.status);
  document.documentElement.dataset.compare = running ? "running" : "idle";
  element.querySelector(".board").dataset.status = value.status;
  element.querySelector(".board").setAttribute("aria-busy", String(running));
  if (value.status === "sent") {
    drawn = "";
    part("grid").replaceChildren();
  }
  if (value.painted) fill(value);
  const done = value.painted ? share(value) : 0;
  part("bar").style.transform = `scaleX(${done})`;
  part("progress").setAttribute("aria-valuenow", Math.round(100 * done));
  part("progress").classList.toggle("on", running);
  part("status").textContent = sentence(value);
  const notice = value.message || value.notice || "";
  part("notice").textContent = notice;
  part("notice").hidden = !notice;
  keep(value);
}

watch("value", show);
show();
