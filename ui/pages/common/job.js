// @ts-check
// A job as its visitor sees it, from the click to its end: the one that paints, the one that compares.
const RUNNING = ["sent", "planned", "waiting", "painting", "cell"];

/** @type {typeof globalThis.showJob} */
const showJob = ({ kind, notice, sentences, share, draw }) => {
  const words = /** @type {Record<string, (value: any) => string>} */ (sentences);
  let stopped = false;

  const show = () => {
    const value = props.value || { status: "empty" };
    const running = RUNNING.includes(value.status);
    // What was on its way when Cancel was pressed may still come in.
    if (value.status === "cancelled") stopped = true;
    else if (!running || value.status === "sent") stopped = false;
    else if (stopped) {
      props.value = { ...value, status: "cancelled" };
      return;
    }
    document.documentElement.dataset[kind] = running ? "running" : "idle";
    const section = /** @type {HTMLElement} */ (element.querySelector("section"));
    section.dataset.status = value.status;
    section.setAttribute("aria-busy", String(running));
    const done = share(value);
    part("bar").style.transform = `scaleX(${done})`;
    part("progress").setAttribute("aria-valuenow", String(Math.round(100 * done)));
    part("progress").classList.toggle("on", running);
    part("status").textContent = words[value.status]?.(value) ?? (running ? "Sent …" : "");
    // At the start the rest of the page, where the notice may stand, is not there yet.
    const place = notice();
    if (place) notify(place, value.message || value.notice);
    draw(value, running);
  };

  watch("value", show);
  show();
};
