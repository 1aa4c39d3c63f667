const seconds = (s) => (s < 10 ? `${s.toFixed(1)} s` : `${Math.round(s)} s`);
const RUNNING = ["sent", "waiting", "painting"];

function cells(count) {
  const frame = part("frame");
  frame.dataset.count = count;
  const all = [...frame.querySelectorAll(".cell")];
  all.slice(count).forEach((cell) => cell.remove());
  for (let i = all.length; i < count; i++) frame.append(make("div", "cell"));
  return [...frame.querySelectorAll(".cell")];
}

function fact(name, value, action) {
  const item = make("li");
  item.append(make("span", "fact-name", name), " ");
  const shown = make(action ? "button" : "span", "fact-value", value);
  if (action) {
    shown.type = "button";
    shown.title = action.title;
    shown.addEventListener("click", action.run);
  }
  item.append(shown);
  return item;
}

function download(url, name) {
  const link = make("a");
  Object.assign(link, { href: url, download: name });
  document.body.append(link);
  link.click();
  link.remove();
}

function facts(value) {
  const list = [
    fact("Seed", value.seeds.join(", "), { title: "Use this seed for the next picture", run: () => trigger("reuse") }),
    fact("Painted in", seconds(value.timings.total)),
    fact("Steps", `${value.steps} · ${value.scheduler}`),
    fact("Size", `${value.width} × ${value.height}`),
  ];
  for (const adapter of value.adapters) {
    list.push(fact(adapter.name, signed(adapter.weight)));
  }
  const images = value.images.map((file, i) => ({ url: file.url, name: `atelier-${value.seeds[i]}.png` }));
  const label = images.length === 1 ? "Download" : `Download ${images.length}`;
  const save = make("li", "fact-save");
  save.append(press("fact-value", label, () => images.forEach((image) => download(image.url, image.name))));
  list.push(save);
  return list;
}

function progressOf(value) {
  if (value.status !== "painting") return 0;
  return (value.image * value.steps + value.step) / (value.images * value.steps);
}

function sentence(value) {
  if (value.status === "sent") return "Sent …";
  if (value.status === "waiting") {
    const before = value.place - 1;
    const turn = before ? `after ${plural(before, "other picture")}` : "next";
    return `In the queue: ${turn}, in about ${seconds(value.expected_seconds)}.`;
  }
  if (value.status === "painting") {
    const which = value.images > 1 ? `Picture ${value.image + 1} of ${value.images}, step` : "Step";
    return value.step ? `${which} ${value.step} of ${value.steps}` : "Mixing the colours …";
  }
  if (value.status === "cancelled") return "Stopped. Nothing was kept.";
  return "";
}

function complain(message) {
  const notice = document.querySelector("#notice");
  if (!notice) return;
  notice.textContent = message || "";
  notice.hidden = !message;
}

function bringIntoView() {
  const { top, bottom } = part("frame").getBoundingClientRect();
  if (top >= 0 && bottom <= window.innerHeight) return;
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  part("frame").scrollIntoView({ block: "center", behavior: calm ? "auto" : "smooth" });
}

let stopped = false;

function show() {
  const value = props.value || { status: "empty" };
  // A step that was on its way when Cancel was pressed may still come in.
  if (value.status === "cancelled") stopped = true;
  else if (!["waiting", "painting"].includes(value.status)) stopped = false;
  else if (stopped) return void (props.value = { status: "cancelled" });
  const running = RUNNING.includes(value.status);
  const painted = value.status === "painting" || value.status === "done";
  document.documentElement.dataset.atelier = running ? "running" : "idle";
  element.querySelector(".stage").dataset.status = value.status;
  element.querySelector(".stage").setAttribute("aria-busy", String(running));
  if (value.width) part("frame").style.setProperty("--aspect", `${value.width} / ${value.height}`);

  if (value.status === "painting") {
    const cell = cells(value.images)[value.image];
    if (value.preview) picture(cell, value.preview, "Preview", false);
  } else if (value.status === "done") {
    cells(value.images.length).forEach((cell, i) => picture(cell, value.images[i].url, value.prompt, true));
  } else if (value.status === "sent" || value.status === "empty" || value.status === "cancelled") {
    cells(0);
  }
  part("lesson").hidden = painted || running || element.querySelector(".cell") !== null;
  part("bar").style.transform = `scaleX(${progressOf(value)})`;
  part("progress").setAttribute("aria-valuenow", Math.round(100 * progressOf(value)));
  part("progress").classList.toggle("on", running);
  part("title").textContent = value.status === "done" ? value.prompt : "";
  part("status").textContent = sentence(value);
  part("facts").replaceChildren(...(value.status === "done" ? facts(value) : []));
  complain(value.status === "failed" ? value.message : value.notice);
  if (value.status === "sent") bringIntoView();
}

watch("value", show);
show();
