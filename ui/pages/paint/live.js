// @ts-check
// While it is on, the picture follows what is set on the page. At most three wishes come a second, and a newer one ends the
// older one; but that has a while, for whoever types on would never see a picture else.
const [PAUSE, APART, PATIENCE, REST] = [20, 334, 1000, 1000];
const ABOUT = "Paint while you type and move, in few steps, always from the same seed. Nothing is kept until you say so.";
const key = atelier.keys("live").desk;
let on = false;
let seed = 0;
let number = 0;
let sent = Number.NEGATIVE_INFINITY;
let running = false;
/** @type {number | undefined} */
let timer;
/** @type {Record<string, any>} */
let values = {};

/** @param {string} words */
function tell(words) {
  // Said again it would be read out again.
  if (part("say").textContent !== words) part("say").textContent = words;
}

/** @param {number} [least] */
function wish(least = PAUSE) {
  if (!on || timer !== undefined) return;
  timer = setTimeout(ask, Math.max(least, sent + (running ? PATIENCE : APART) - performance.now()));
}

function ask() {
  timer = undefined;
  if (!on) return;
  if (!values.prompt?.trim()) return tell("Write what you want to see.");
  if (document.documentElement.dataset.atelier === "running") {
    tell("Rests while your picture is painted.");
    return wish(REST);
  }
  sent = performance.now();
  running = true;
  number += 1;
  trigger("ask", { number, key, seed });
}

watch("answer", () => {
  /** @type {{ answer: LiveAnswer | null }} */
  const { answer } = props;
  if (answer?.number !== number) return;
  running = false;
  if (timer !== undefined) {
    clearTimeout(timer);
    timer = undefined;
    wish();
  }
  if (!on) return;
  if (answer.error) return tell(answer.error);
  if (answer.status === "resting") {
    tell(`Rests while others paint, ${turn(answer.place)}.`);
    return wish(REST);
  }
  if (answer.status !== "done") return;
  tell("");
  window.dispatchEvent(new CustomEvent("atelier:live", { detail: { ...answer, status: "live", key } }));
});

window.addEventListener("atelier:form", (event) => {
  values = /** @type {CustomEvent<Record<string, any>>} */ (event).detail;
  wish();
});
part("switch").title = ABOUT;
part("switch").disabled = Boolean(given.why_not);
if (given.why_not) tell(`Not here: ${given.why_not}.`);
part("switch").addEventListener("click", () => {
  on = !on;
  part("switch").setAttribute("aria-pressed", String(on));
  seed = Math.floor(Math.random() * given.most);
  tell("");
  wish();
});
