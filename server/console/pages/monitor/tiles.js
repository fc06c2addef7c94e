// The figures of now.

import { element } from "../../lib/dom.js";
import { bytes, duration, number } from "../../lib/format.js";
import { t } from "./texts.js";

// Of all deliveries, the share that needed no encoding of its own: one for each dialect serves everybody.
function saved({ totals }) {
  if (totals.deliveries === 0) return "–";
  return `${number(Math.max(0, 1 - totals.encodings / totals.deliveries) * 100, 1)} %`;
}

// Key → what stands in the tile.
const TILES = {
  connections: ({ report }) => number(report.totals.connections),
  users: ({ report }) => number(report.totals.users),
  channels: ({ report }) => number(report.totals.channels),
  subscriptions: ({ report }) => number(report.totals.subscriptions),
  publications: ({ recent }) => t("per_second", { value: number(recent.publications, 1) }),
  deliveries: ({ recent }) => t("per_second", { value: number(recent.deliveries, 1) }),
  sent: ({ bytesPerSecond: sent }) => (sent === null ? "–" : t("per_second", { value: bytes(Math.round(sent)) })),
  saved: ({ report }) => saved(report),
  outbox: ({ report }) => bytes(report.totals.outbox_bytes),
  cpu: ({ recent }) => `${number(recent.cpu * 100)} %`,
  memory: ({ recent }) => (recent.resident === null ? "–" : bytes(recent.resident)),
  uptime: ({ report }) => duration(report.uptime_seconds),
};

export class Tiles {
  #values = {};

  constructor() {
    const tiles = Object.keys(TILES).map((key) => {
      this.#values[key] = element("dd", { id: `tile-${key}` });
      return element("div", { className: "tile" }, element("dt", {}, t(`tile_${key}`)), this.#values[key]);
    });
    this.element = element("dl", { className: "tiles" }, ...tiles);
  }

  show(now) {
    for (const [key, tell] of Object.entries(TILES)) {
      const text = tell(now);
      if (this.#values[key].textContent !== text) this.#values[key].textContent = text;
    }
  }
}
