// @ts-check
// A preset is called by its sampler, and by a schedule behind it if that is not the model's.
const joined = (/** @type {string} */ sampler, /** @type {string} */ schedule) => `${sampler} ${schedule}`.trim();

/** @param {string} value @param {string} [words] */
function option(value, words = value) {
  const node = make("option", "", words);
  node.value = value;
  return node;
}

/** @param {string} sampler @param {string} schedule */
function show(sampler, schedule) {
  part("sampler").value = sampler;
  part("schedule").replaceChildren(...given.samplers[sampler].map((name) => option(name, name || "as the model's")));
  part("schedule").value = schedule;
}

function told() {
  for (const [sampler, schedules] of Object.entries(given.samplers)) {
    const schedule = schedules.find((name) => joined(sampler, name) === props.value);
    if (schedule !== undefined) show(sampler, schedule);
  }
}

function pick() {
  const sampler = part("sampler").value;
  const schedules = given.samplers[sampler];
  // One that the new sampler does not take gives way to the first.
  const schedule = schedules.includes(part("schedule").value) ? part("schedule").value : schedules[0];
  show(sampler, schedule);
  props.value = joined(sampler, schedule);
}

part("sampler").append(...Object.keys(given.samplers).map((name) => option(name)));
for (const choice of [part("sampler"), part("schedule")]) choice.addEventListener("change", pick);
watch("value", told);
told();
