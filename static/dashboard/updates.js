// What a reader has opened, and where the keyboard is, outlive an update: Dash builds every element of a part that it
// is given anew, so a disclosure would snap shut and the focus fall to the top of the page.
(function () {
  "use strict";

  var NUMBERS = /[\d][\d.,]*/g; // "Log of stops (3)" is the same one as "Log of stops (4)"

  var opened = new Map(); // place of a <details> -> whether the reader left it open
  var focused = null; // {element, place} of what has, or had until an update, the focus

  function words(element) {
    return (element.getAttribute("aria-label") || element.textContent || "").trim().replace(NUMBERS, "#");
  }

  // Where in the page an element stands, in terms that its successor shares: the nearest named part, the kind of
  // element, its words, and which of several such it is.
  function place(element) {
    if (element.id) return "#" + element.id;
    var part = element.parentElement && element.parentElement.closest("[id]");
    if (!part) return null;
    var said = words(element);
    var alike = Array.from(part.querySelectorAll(element.localName)).filter(function (other) {
      return !other.id && words(other) === said;
    });
    return [part.id, element.localName, said, alike.indexOf(element)].join("\n");
  }

  function foldPlace(details) {
    var summary = details.querySelector("summary");
    var at = summary && place(summary);
    return at && window.location.pathname + "\n" + at;
  }

  // "toggle" does not bubble, but is seen on its way down. It also follows what restore() opens, which changes nothing.
  document.addEventListener(
    "toggle",
    function (event) {
      var at = event.target.localName === "details" && event.target.isConnected && foldPlace(event.target);
      if (at) opened.set(at, event.target.open);
    },
    true,
  );

  document.addEventListener("focusin", function (event) {
    focused = { element: event.target, place: place(event.target) };
  });
  // Who leaves by hand leaves an element that is still there.
  document.addEventListener("focusout", function (event) {
    window.setTimeout(function () {
      if (focused && focused.element === event.target && event.target.isConnected) focused = null;
    });
  });

  function restoreFolds(root) {
    var folds = Array.from(root.querySelectorAll("details"));
    if (root.matches("details")) folds.unshift(root);
    folds.forEach(function (details) {
      var was = opened.get(foldPlace(details));
      if (was !== undefined && was !== details.open) details.open = was;
    });
  }

  function restoreFocus() {
    if (!focused || !focused.place || focused.element.isConnected) return;
    if (document.activeElement && document.activeElement !== document.body) return;
    var successor = Array.from(document.querySelectorAll(focused.element.localName)).find(function (element) {
      return place(element) === focused.place;
    });
    if (successor) successor.focus({ preventScroll: true });
  }

  // Runs before the next paint, so nothing flickers.
  new MutationObserver(function (changes) {
    var hasNew = false;
    changes.forEach(function (change) {
      change.addedNodes.forEach(function (node) {
        if (node.nodeType !== Node.ELEMENT_NODE || !node.isConnected) return;
        hasNew = true;
        restoreFolds(node);
      });
    });
    if (hasNew) restoreFocus();
  }).observe(document.documentElement, { childList: true, subtree: true });
})();
