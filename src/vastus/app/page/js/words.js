// Messages at the bottom of the page: an error stays until it is closed, whatever else has happened since.

import { $, say } from "/viewer/js/dom.js";

export function tell(text) {
  const box = $("#message");
  if (box.hidden || box.dataset.kind !== "error") say(text);
}
