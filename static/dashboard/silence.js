// Says so when the server does not answer: its own notices are written by its answers, and nothing else would tell a
// page that still reads "Running" from one that is alive.
(function () {
  "use strict";

  var SILENT_AFTER_MS = 6000; // three ticks of a page: one lost answer is no silence
  var LONGEST_WAIT_MS = 8000; // some questions take seconds; this one is answered at once by a server that lives
  var GATEWAY_SILENT = [502, 504]; // a proxy speaks for a server that does not
  var PROBE = "/livez";

  var answeredAt = Date.now();
  var failed = false; // since the last answer
  var oldestWait = null; // since when something asked of the server waits for its answer
  var waiting = 0;
  var probing = false;
  var shown = "";

  function isOurs(asked) {
    var address = typeof asked === "string" ? asked : asked.url || String(asked);
    return new URL(address, window.location.href).origin === window.location.origin;
  }

  function settled(answer) {
    if (answer && GATEWAY_SILENT.indexOf(answer.status) < 0) {
      answeredAt = Date.now();
      failed = false;
    } else {
      failed = true;
    }
    look();
  }

  var fetchPlainly = window.fetch;
  // Everything that Dash asks goes through here.
  window.fetch = function (asked) {
    var answer = fetchPlainly.apply(window, arguments);
    if (!isOurs(asked)) return answer;
    waiting += 1;
    if (oldestWait === null) oldestWait = Date.now();
    function over() {
      waiting -= 1;
      oldestWait = waiting ? Date.now() : null;
    }
    answer.then(
      function (response) {
        over();
        settled(response);
      },
      function (error) {
        over();
        // Who leaves a page, or closes a form, calls its questions back.
        if (!error || error.name !== "AbortError") settled(null);
      },
    );
    return answer;
  };

  // Asked where the page itself asks nothing, and where an answer is overdue: a long calculation is no silence.
  function probe() {
    if (probing) return;
    probing = true;
    var call = new AbortController();
    var timer = window.setTimeout(call.abort.bind(call), LONGEST_WAIT_MS);
    fetchPlainly(PROBE, { cache: "no-store", signal: call.signal })
      .catch(function () {
        return null;
      })
      .then(function (response) {
        window.clearTimeout(timer);
        probing = false;
        settled(response);
      });
  }

  function clock(time) {
    return new Date(time).toLocaleTimeString(undefined, { hour12: false });
  }

  function look() {
    var isSilent = failed && Date.now() - answeredAt >= SILENT_AFTER_MS;
    var text = isSilent ? "No answer from Losscast since " + clock(answeredAt) + ": what you see is from then. Trying again." : "";
    if (text === shown || !window.dash_clientside || !window.dash_clientside.set_props) return;
    shown = text;
    document.documentElement.toggleAttribute("data-silent", isSilent);
    window.dash_clientside.set_props("silence", { children: text });
  }

  window.setInterval(function () {
    if (document.hidden) return;
    var isOverdue = oldestWait !== null && Date.now() - oldestWait >= LONGEST_WAIT_MS;
    if (failed || isOverdue) probe();
    look();
  }, 2000);
})();
