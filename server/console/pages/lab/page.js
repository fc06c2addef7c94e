// The connection lab: every message there is, sent by hand, and every frame as it goes over the wire.

import { element } from "../../lib/dom.js";
import { Page } from "../../lib/page.js";
import { sheet } from "../../lib/sheet.js";
import { Channels } from "./channels.js";
import { Chat } from "./chat.js";
import { Commands } from "./commands.js";
import { Figures } from "./figures.js";
import { Frames } from "./frames.js";
import { Journeys } from "./journeys.js";
import { Latency } from "./latency.js";
import { Publish } from "./publish.js";
import { Raw } from "./raw.js";
import { Status } from "./status.js";
import { t } from "./texts.js";

sheet(new URL("page.css", import.meta.url));

class Lab extends Page {
  enter() {
    const journeys = new Journeys();
    const latency = new Latency(this);
    const channels = new Channels(this);
    const frames = new Frames("frames", t("frames"));
    this.hear("@frame", (frame) => frames.add({ ...frame, at: new Date() }));
    // Offsets begin anew where the server does.
    this.hear("connected", () => journeys.reset());
    const lane = (className, ...parts) => element("div", { className }, ...parts.map((part) => part.element));
    this.replaceChildren(
      this.title(t("title")),
      about(),
      element("div", { className: "lanes" },
        lane("lane", new Status(this), channels),
        lane("lane talk",
          new Chat(this, channels, journeys, latency), frames, new Commands(this), new Figures(this)),
        lane("lane", new Publish(this, journeys, latency), latency)),
      new Raw(this).element);
    // Last of all, when everybody listens: what is asked for now is seen by all of them.
    latency.begin();
    this.leave(() => frames.stop());
  }
}

function about() {
  return element("details", { className: "card about", id: "about" },
    element("summary", {}, element("h2", {}, t("what"))),
    element("p", {}, t("what_1")),
    element("ol", {}, ...["step_1", "step_2", "step_3", "step_4"].map((key) => element("li", {}, t(key)))));
}

customElements.define("tidings-lab", Lab);
export const page = Lab;
