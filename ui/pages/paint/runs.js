// @ts-check
for (const [runs, words] of given.choices) {
  const option = make("option", "", words);
  option.value = String(runs);
  part("choose").append(option);
}
const show = () => (part("choose").value = String(props.value));
part("choose").addEventListener("change", () => (props.value = Number(part("choose").value)));
watch("value", show);
show();
