const COLUMNS = 8;
const area = () => document.querySelector("#prompt textarea");
const around = (template) => template.prompt.split("{prompt}");

// A template is on while its words stand around the prompt; whoever edits them makes them their own.
function isOn(template) {
  const [before, after] = around(template);
  const text = area()?.value ?? "";
  return text.startsWith(before) && text.endsWith(after) && text.length >= before.length + after.length;
}

function toggle(template) {
  const prompt = area(), [before, after] = around(template), on = !isOn(template);
  prompt.value = on
    ? before + prompt.value.trim() + after
    : prompt.value.slice(before.length, prompt.value.length - after.length);
  prompt.dispatchEvent(new Event("input", { bubbles: true }));
  // What to leave out may not be on the page just now: gradio keeps its value.
  props.value = { negative: template.negative, on };
  trigger("pick");
  show();
}

const buttons = props.templates.map((template, i) => {
  const button = press("prompt-template", undefined, () => toggle(template));
  const picture = make("span", "prompt-template-picture");
  picture.style.backgroundPosition = `${(100 * (i % COLUMNS)) / (COLUMNS - 1)}% ${(100 * Math.floor(i / COLUMNS)) / (Math.ceil(props.templates.length / COLUMNS) - 1)}%`;
  picture.style.backgroundSize = `${100 * COLUMNS}% auto`;
  picture.style.backgroundImage = "url(templates.webp)";
  button.append(picture, make("span", "prompt-template-name", template.name));
  button.title = template.prompt.replace("{prompt}", "…");
  return button;
});

function show() {
  props.templates.forEach((template, i) => buttons[i].setAttribute("aria-pressed", String(isOn(template))));
}

part("search").addEventListener("input", (event) => {
  const words = event.target.value.trim().toLowerCase();
  props.templates.forEach((template, i) => {
    buttons[i].hidden = !`${template.name} ${template.prompt}`.toLowerCase().includes(words);
  });
});
document.addEventListener("input", (event) => event.target.closest?.("#prompt") && show());
part("templates").append(...buttons);
show();
