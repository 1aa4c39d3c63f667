// What Python tells the widgets and what they tell Python, as far as they use it.

/** A file on the server, as gradio describes it. */
interface SentFile {
  path: string;
  url: string;
  orig_name: string;
  meta?: { _type: "gradio.FileData" };
}

/** An adapter; with a verdict on it where it has been inspected. */
interface Style extends Partial<Verdict> {
  id: string;
  name: string;
  triggers: string[];
  preview?: string;
  description?: string;
  source?: string;
  licence?: string;
  sha256?: string;
  rank?: number;
  parameters?: number;
  share?: number;
}

interface Verdict {
  fits: boolean;
  reason: string;
  family: string;
  family_known_by: string;
  base: string;
  matched: number;
  unmatched: number;
  unmatched_examples: string[];
  ignored: number;
  notes: string[];
  tags: string[];
  groups: Record<string, { kinds: Record<string, number>; rank: [number, number]; alpha: [number, number] }>;
}

/** An adapter in a mix, as a request names it; `muted` ones stay on the page. */
interface StyleUse {
  id: string;
  weight: number;
  text_weight?: number;
  start?: number;
  end?: number;
  blocks?: Record<string, number>;
  muted?: boolean;
}

interface PromptTemplate {
  name: string;
  prompt: string;
  negative: string;
}

/** Settings as a picture's details tell them. */
interface Details {
  prompt: string;
  prompts?: string[];
  negative_prompt?: string;
  negative_prompts?: string[];
  steps: number;
  scheduler: string;
  width: number;
  height: number;
  hires?: { width: number; height: number; steps: number; strength: number } | null;
  adapters: { name: string; weight: number }[];
  comparison?: Record<string, Axis | null>;
}

interface Axis {
  title: string;
  labels: string[];
}

/** A job, whatever it does. */
interface Job {
  status: "empty" | "sent" | "planned" | "waiting" | "painting" | "cell" | "done" | "failed" | "cancelled";
  message?: string;
  notice?: string;
}

/** A place in the queue, and when its turn is. */
interface Waiting {
  place: number;
  expected_seconds: number;
}

/** A step of the picture that is being painted. */
interface Step {
  step: number;
  steps: number;
  preview: string | null;
}

type PaintJob = Job & { width?: number; height?: number } & (
    | { status: "empty" | "sent" | "failed" | "cancelled" }
    | ({ status: "waiting" } & Waiting)
    | ({ status: "painting"; image: number; images: number } & Step)
    | ({ status: "done" } & Painted)
  );

interface Painted extends Details {
  images: SentFile[];
  seeds: number[];
  timings: { total: number };
}

/** What a comparison is from its plan on. */
interface Grid {
  x: Axis;
  y: Axis | null;
  columns: number;
  rows: number;
  width: number;
  height: number;
  cells: number;
  painted: SentFile[];
}

type CompareJob = Job &
  Partial<Grid> &
  (
    | { status: "empty" | "sent" | "planned" | "failed" | "cancelled" }
    | ({ status: "waiting"; cell: number } & Grid & Waiting)
    | ({ status: "painting"; cell: number } & Grid & Step)
    | ({ status: "cell"; cell: number } & Grid)
    | ({ status: "done"; sheet: SentFile } & Grid)
  );

/** What a request comes to before it is sent, or why it comes to nothing; a place of 0 is none in the queue. */
interface Plan {
  expected_seconds: number;
  place: number;
  starts_in: number;
  error?: string;
}

/** How a prompt is read; without its count there is nothing to tell. */
interface Tokenized {
  count: number;
  chunks: number;
  tokens: string[];
  weights: number[];
  clamped: string[];
  dropped: string[];
  parts: number[];
  schedule: [number, string][];
  triggers: { present: string[]; missing: string[] };
  error?: string;
}

/** What one click on Paint made, as the history has it. */
interface PictureSet {
  id: string;
  created: number;
  details: Details;
  pictures: { picture: number; seed: number; url: string; thumbnail: string }[];
}

type KeptPicture = PictureSet["pictures"][0] & Pick<PictureSet, "id" | "created" | "details"> & { prompt: string };

/** What the property `answer` says to a question, by its number. */
interface Answer {
  number: number;
  error?: string;
}

/** To `list`; to `forget` only the count. */
interface HistoryAnswer extends Answer {
  sets: PictureSet[];
  count: number;
  notice?: string;
}

interface RestoreAnswer extends Answer {
  done: string;
  notes: string[];
}

type StylesAnswer = Answer &
  ({ event: "inspect"; style: Style } | { event: "search"; found: HubModel[] } | { event: "export"; file: SentFile; details: Exported });

interface HubModel {
  id: string;
  licence?: string;
  downloads?: number;
}

/** A mix in one file: its rank, and what share of its change was lost. */
interface Exported {
  rank: number;
  error: number;
}
