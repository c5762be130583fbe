// What a word with a dotted line under it means: shown under the pointer, at the keyboard's focus and to a finger alike
// (a browser's own tooltip knows the pointer alone), hidden by Escape, and left alone while it is pointed at.
(function () {
  "use strict";

  var EXPLAINED = "[aria-description]";
  var SHOW_AFTER_MS = 150;
  var HIDE_AFTER_MS = 200; // time to move the pointer over to the text itself
  var GONE_AFTER_MS = 3000; // an update takes parts away before it puts the new ones there, and a busy server takes its time

  var box = document.createElement("div");
  box.id = "meaning";
  box.setAttribute("role", "presentation"); // a screen reader has it from the word
  box.hidden = true;

  var word = null; // whose meaning is shown
  var timer = 0;

  function later(act, delay) {
    window.clearTimeout(timer);
    timer = window.setTimeout(act, delay);
  }

  function explained(target) {
    return target instanceof Element ? target.closest(EXPLAINED) : null;
  }

  function meaningOf(element) {
    return element && element.getAttribute("aria-description");
  }

  function place() {
    var at = word.getBoundingClientRect();
    var edge = 8;
    var left = Math.min(at.left, document.documentElement.clientWidth - box.offsetWidth - edge);
    var fitsBelow = at.bottom + edge + box.offsetHeight <= window.innerHeight;
    box.style.left = Math.max(edge, left) + "px";
    box.style.top = (fitsBelow ? at.bottom + 6 : Math.max(edge, at.top - box.offsetHeight - 6)) + "px";
  }

  function show(element) {
    window.clearTimeout(timer);
    word = element;
    box.textContent = meaningOf(element);
    if (!box.isConnected) document.body.appendChild(box);
    box.hidden = false;
    place();
  }

  function hide() {
    window.clearTimeout(timer);
    word = null;
    box.hidden = true;
  }

  function hideIfGone() {
    if (word && !word.isConnected) hide();
  }

  document.addEventListener("pointerover", function (event) {
    if (event.pointerType === "touch") return;
    if (event.target === box) return window.clearTimeout(timer);
    var element = explained(event.target);
    if (element && element !== word) later(show.bind(null, element), SHOW_AFTER_MS);
    else if (element) window.clearTimeout(timer);
    else if (word) later(hide, HIDE_AFTER_MS);
    else window.clearTimeout(timer);
  });

  document.addEventListener("focusin", function (event) {
    var element = explained(event.target);
    if (element === event.target && element.matches(":focus-visible")) show(element);
    else if (word && meaningOf(element) !== box.textContent) hide();
  });

  document.addEventListener("click", function (event) {
    var element = explained(event.target);
    if (element) {
      if (element.matches("[role=button]")) event.preventDefault(); // in a label, it would move on to the field
      if (!element.matches("a, a *")) show(element);
    } else if (event.target !== box) hide();
  });

  document.addEventListener("keydown", function (event) {
    if (event.key === "Escape" && word) return hide();
    var element = explained(event.target);
    if (element !== event.target || !element || element.getAttribute("role") !== "button") return;
    if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    if (word === element) hide();
    else show(element);
  });

  function isInView() {
    var at = word.getBoundingClientRect();
    return at.bottom >= 0 && at.top <= window.innerHeight;
  }

  // An update may push the word out of view, too; its meaning goes only where the reader scrolls away from it.
  function follow() {
    if (word && word.isConnected && isInView()) place();
  }
  function leave() {
    if (word && word.isConnected && !isInView()) hide();
  }
  document.addEventListener("scroll", follow, { passive: true, capture: true });
  window.addEventListener("resize", follow);
  document.addEventListener("wheel", leave, { passive: true });
  document.addEventListener("touchmove", leave, { passive: true });

  // An update may build the word anew under the pointer: its meaning stays, as long as there is such a word there.
  new MutationObserver(function () {
    if (!word || word.isConnected) return;
    var left = parseFloat(box.style.left);
    var same = Array.from(document.querySelectorAll(EXPLAINED)).filter(function (element) {
      return meaningOf(element) === box.textContent;
    });
    same.sort(function (one, other) {
      return Math.abs(one.getBoundingClientRect().left - left) - Math.abs(other.getBoundingClientRect().left - left);
    });
    if (same.length) {
      word = same[0];
      place();
    } else later(hideIfGone, GONE_AFTER_MS);
  }).observe(document.documentElement, { childList: true, subtree: true });
})();
