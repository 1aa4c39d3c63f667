const COLUMNS = 8;
const area = () => document.querySelector("#prompt textarea");
const around = (look) => look.prompt.split("{prompt}");

// A look is on while its words stand around the prompt; whoever edits them makes them their own.
function isOn(look) {
  const [before, after] = around(look);
  const text = area()?.value ?? "";
  return text.startsWith(before) && text.endsWith(after) && text.length >= before.length + after.length;
}

function toggle(look) {
  const prompt = area(), [before, after] = around(look), on = !isOn(look);
  prompt.value = on
    ? before + prompt.value.trim() + after
    : prompt.value.slice(before.length, prompt.value.length - after.length);
  prompt.dispatchEvent(new Event("input", { bubbles: true }));
  // What to leave out may not be on the page just now: gradio keeps its value.
  props.value = { negative: look.negative, on };
  trigger("pick");
  show();
}

const buttons = props.looks.map((look, i) => {
  const button = press("look", undefined, () => toggle(look));
  const picture = make("span", "look-picture");
  picture.style.backgroundPosition = `${(100 * (i % COLUMNS)) / (COLUMNS - 1)}% ${(100 * Math.floor(i / COLUMNS)) / (Math.ceil(props.looks.length / COLUMNS) - 1)}%`;
  picture.style.backgroundSize = `${100 * COLUMNS}% auto`;
  picture.style.backgroundImage = "url(looks.webp)";
  button.append(picture, make("span", "look-name", look.name));
  button.title = look.prompt.replace("{prompt}", "…");
  return button;
});

function show() {
  props.looks.forEach((look, i) => buttons[i].setAttribute("aria-pressed", String(isOn(look))));
}

part("search").addEventListener("input", (event) => {
  const words = event.target.value.trim().toLowerCase();
  props.looks.forEach((look, i) => {
    buttons[i].hidden = !`${look.name} ${look.prompt}`.toLowerCase().includes(words);
  });
});
document.addEventListener("input", (event) => event.target.closest?.("#prompt") && show());
part("looks").append(...buttons);
show();
