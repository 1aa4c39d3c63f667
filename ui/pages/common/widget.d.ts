// What a widget's script finds there: it is the body of a function, with dom.js and its other helpers before it.

// From gradio:
declare const element: HTMLElement;
/** The widget's value, and what its constructor in Python adds: some of these, for each widget others. */
declare const props: {
  // Of a kind that the script says itself.
  value: any;
  answer: any;
  plan: any;
  styles: Style[];
  families: Record<string, string>;
  templates: PromptTemplate[];
  columns: number;
  names: Record<string, string>;
  schedulers: string[];
  chunk: number;
  page_size: number;
  most: number;
  most_bytes: number;
  burns_above: number;
  max_weight: number;
  max_guidance: number;
  max_characters: number;
};
declare function trigger(event: string, data?: object): void;
/** Runs when the server has changed that property; not when the script has. */
declare function watch(property: keyof typeof props, run: () => void): void;
declare function upload(file: File): Promise<{ path: string; url: string }>;

// From visitor.js:
declare const atelier: Window["atelier"];
interface Window {
  atelier: {
    owner(): string;
    keys(kind: string): { owner: string; job: string };
    begin(kind: string): { owner: string; job: string };
  };
}

// From dom.js. The elements that templates name by data-part:
type Parts = Record<
  | "all"
  | "bar"
  | "burn"
  | "caption"
  | "cards"
  | "cost"
  | "count"
  | "empty"
  | "facts"
  | "found"
  | "frame"
  | "grid"
  | "hint"
  | "keep"
  | "lesson"
  | "line"
  | "list"
  | "mix"
  | "notes"
  | "notice"
  | "progress"
  | "say"
  | "status"
  | "templates"
  | "title"
  | "verdict"
  | "versus"
  | "x"
  | "y",
  HTMLElement
> & {
  dialog: HTMLDialogElement;
  file: HTMLInputElement;
  form: HTMLFormElement;
  more: HTMLButtonElement;
  open: HTMLButtonElement;
  over: HTMLImageElement;
  own: HTMLDetailsElement;
  owner: HTMLInputElement;
  plot: SVGElement;
  search: HTMLInputElement;
  sheet: HTMLDialogElement;
  slide: HTMLInputElement;
  under: HTMLImageElement;
  words: HTMLInputElement;
  zip: HTMLFormElement;
};
declare function part<N extends keyof Parts>(name: N): Parts[N];
declare function findAll(within: ParentNode, selector: string): HTMLElement[];
/** Whether something happened in such an element. */
declare function inside(event: Event, selector: string): boolean;
declare function make<T extends keyof HTMLElementTagNameMap>(tag: T, className?: string, text?: string): HTMLElementTagNameMap[T];
/** A button. */
declare function press(className: string, text: string | undefined, run: () => void): HTMLButtonElement;
/** A list of facts, without those that are empty. */
declare function terms(facts: [name: string, value: unknown][]): HTMLElement;
/** Words in an element that is not there without any. */
declare function notify(node: HTMLElement, words: string | undefined): void;
declare function picture(cell: Element, src: string, alt: string, done: boolean): HTMLImageElement;
declare function download(url: string, name: string): void;
declare function promptArea(): HTMLTextAreaElement | null;
declare function write(area: HTMLTextAreaElement, text: string): void;
declare function plural(n: number, word: string): string;
declare function roughly(seconds: number): string;
declare function signed(number: number): string;
/** A place in the queue in words. */
declare function turn(place: number): string;

// From job.js:
type Sentences<J extends { status: string }> = {
  [S in J["status"]]?: (value: Extract<J, { status: S }>) => string;
};
/**
 * Show the widget's value, a job, whenever it changes. `kind` is its place in the dataset of <html>, where the buttons
 * look; `notice` is the place for what went wrong; `share` is how much of it is done, 0 to 1.
 */
declare function showJob<J extends Job>(widget: {
  kind: "atelier" | "compare";
  notice: () => HTMLElement | null;
  sentences: Sentences<J>;
  share: (value: J) => number;
  draw: (value: J, running: boolean) => void;
}): void;

// From files.js:
/** In words, that a file is too large to be sent, or "". */
declare function tooLarge(file: File): string;
declare function sendFile(file: File, run: (sent: SentFile) => void, fail: (words: string) => void): Promise<void>;
