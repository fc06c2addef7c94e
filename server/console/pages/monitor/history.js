// What the server has told so far: its samples of the last ten minutes, and bytes sent, which are in no sample.

// As many as the server keeps: ten minutes.
const KEPT = 300;
// Bytes a second are of so long: single answers come in bursts.
const FLOW_MS = 10_000;

export class History {
  samples = [];
  // `at` of the last sample; 0 before the first.
  last = 0;
  // [when, bytes sent until then], of the last FLOW_MS.
  #sent = [];
  #uptime = 0;

  // Take an answer of the server's. Returns all there is to be shown: {report, samples, fresh, recent,
  // bytesPerSecond}. `fresh` are the new samples; `recent` is what has happened in the last ten seconds.
  add(report) {
    // A server that was started anew begins its counts anew; its samples go on.
    if (report.uptime_seconds < this.#uptime) this.#sent = [];
    this.#uptime = report.uptime_seconds;
    this.samples.push(...report.samples);
    this.samples.splice(0, this.samples.length - KEPT);
    this.last = this.samples.at(-1)?.at ?? 0;
    return {
      report, samples: this.samples, fresh: report.samples, recent: recent(this.samples.slice(-5)),
      bytesPerSecond: this.#flow(report.totals.bytes_sent),
    };
  }

  // null until it is known.
  #flow(sent) {
    const now = performance.now();
    this.#sent.push([now, sent]);
    while (this.#sent.length > 2 && this.#sent[1][0] < now - FLOW_MS) this.#sent.shift();
    const [then, before] = this.#sent[0];
    return now - then < 1_000 ? null : ((sent - before) / (now - then)) * 1000;
  }
}

// Some samples as rates a second, and as sums.
function recent(samples) {
  const seconds = samples.reduce((sum, each) => sum + each.seconds, 0);
  const sum = (name) => samples.reduce((total, each) => total + each[name], 0);
  const rate = (name) => (seconds > 0 ? sum(name) / seconds : 0);
  return {
    publications: rate("publications"), deliveries: rate("deliveries"), encodings: rate("encodings"),
    requests: rate("requests"), cpu: rate("cpu_seconds"), resident: samples.at(-1)?.resident_bytes ?? null,
  };
}

// How often something happened in the samples of the last so many milliseconds.
export function happened(samples, name, within) {
  const since = (samples.at(-1)?.at ?? 0) - within;
  return samples.reduce((sum, each) => (each.at > since ? sum + each[name] : sum), 0);
}
