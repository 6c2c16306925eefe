// A form is sent once, however often its button is pressed: a second time would take the first one's answer away, and find
// that its link or code was used. Nothing depends on this; without scripts it is as in any browser.
"use strict";

(() => {
  const WAIT = 10000; // milliseconds, after which there was no answer, and the button counts again
  let sent = new WeakMap();

  document.addEventListener("submit", (event) => {
    const now = performance.now();
    if (now - (sent.get(event.target) ?? -Infinity) < WAIT) {
      event.preventDefault();
    } else if (!event.defaultPrevented) {
      sent.set(event.target, now);
    }
  });

  // A page that the browser kept, and shows again, begins anew.
  addEventListener("pageshow", () => {
    sent = new WeakMap();
  });
})();
