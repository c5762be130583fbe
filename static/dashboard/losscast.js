// What the pages do in the browser. Named functions only, so no inline script is needed.
(function () {
  "use strict";

  var PHONE = window.matchMedia("(max-width: 640px)");
  var DARK = window.matchMedia("(prefers-color-scheme: dark)");
  var THEMES = ["system", "light", "dark"];
  var THEME_LOOKS = {
    system: { sign: "◐", word: "System" },
    light: { sign: "☀", word: "Light" },
    dark: { sign: "☾", word: "Dark" },
  };

  function chosenTheme() {
    return document.documentElement.dataset.theme || "system";
  }

  function chooseTheme(theme) {
    if (theme === "system") {
      delete document.documentElement.dataset.theme;
    } else {
      document.documentElement.dataset.theme = theme;
    }
    try {
      localStorage.setItem("losscast-theme", theme);
    } catch (blocked) {
      // Then the choice lasts until the page is closed.
    }
  }

  function display() {
    var theme = chosenTheme();
    return {
      theme: theme === "system" ? (DARK.matches ? "dark" : "light") : theme,
      narrow: PHONE.matches,
    };
  }

  function tell(id, props) {
    // Dash may not have drawn the component yet, or no longer.
    if (window.dash_clientside && window.dash_clientside.set_props) {
      try {
        window.dash_clientside.set_props(id, props);
      } catch (absent) {
        return;
      }
    }
  }

  function displayChanged() {
    tell("display", { data: display() });
  }
  DARK.addEventListener("change", displayChanged);
  PHONE.addEventListener("change", displayChanged);

  // A hidden tab asks for nothing; shown again, it asks at once with its next tick.
  document.addEventListener("visibilitychange", function () {
    var page = document.querySelector("[data-tick]");
    if (page) tell(page.dataset.tick, { disabled: document.hidden });
  });

  // Distances in time grow between two updates. The words are those of app/verdicts/durations.py.
  function duration(seconds) {
    if (seconds < 60) return Math.max(0, Math.round(seconds)) + " s";
    var minutes = Math.round(seconds / 60);
    if (minutes < 60) return minutes + " min";
    var hours = Math.floor(minutes / 60);
    minutes -= 60 * hours;
    if (hours < 24) return hours + " h" + (minutes ? " " + minutes + " min" : "");
    var days = Math.floor(hours / 24);
    hours -= 24 * days;
    return days + " d" + (hours && days < 100 ? " " + hours + " h" : "");
  }

  window.setInterval(function () {
    if (document.hidden) return;
    var now = Date.now() / 1000;
    document.querySelectorAll("time[data-moment]").forEach(function (element) {
      var seconds = now - Number(element.dataset.moment);
      var text = seconds < 5 ? "just now" : duration(seconds) + " ago";
      // The text node is React's: change what it says, do not replace it.
      if (element.firstChild && element.firstChild.nodeValue !== text) {
        element.firstChild.nodeValue = text;
      }
    });
  }, 5000);

  var noUpdate = function () {
    return window.dash_clientside.no_update;
  };

  window.dash_clientside = window.dash_clientside || {};
  window.dash_clientside.losscast = {
    display: function (clicks) {
      if (clicks) {
        chooseTheme(THEMES[(THEMES.indexOf(chosenTheme()) + 1) % THEMES.length]);
      }
      var look = THEME_LOOKS[chosenTheme()];
      return [display(), look.sign, look.word, window.location.origin];
    },

    arrived: function (pathname, title) {
      document.title = title ? title + " · Losscast" : "Losscast";
      // What is below none of them is no page at all.
      var pages = [/^\/($|runs\/|projects\/)/, /^\/compare\/?$/, /^\/fit\/?$/, /^\/alerts\/?$/];
      return pages.map(function (page) {
        return "nav-link" + (page.test(pathname || "/") ? " nav-here" : "");
      });
    },

    turnPage: function (_previous, _next, _project, _status, _health, _search, page) {
      var triggered = window.dash_clientside.callback_context.triggered_id;
      if (triggered === "runs-previous") return Math.max(0, page - 1);
      if (triggered === "runs-next") return page + 1;
      return page === 0 ? noUpdate() : 0;
    },

    rememberFilter: function (page, project, status, health, search) {
      var query = new URLSearchParams();
      // The page of a project has it in its address already.
      var ofProject = window.location.pathname.indexOf("/projects/") === 0;
      if (project && !ofProject) query.set("project", project);
      if (status && status !== "all") query.set("status", status);
      if (health && health !== "all") query.set("health", health);
      if (search) query.set("search", search);
      if (page) query.set("page", page + 1);
      var text = query.toString();
      window.history.replaceState(window.history.state, "", window.location.pathname + (text ? "?" + text : ""));
    },

    showOneMore: function (_clicks, hidden) {
      var next = hidden.indexOf(true);
      return hidden.map(function (isHidden, row) {
        return isHidden && row !== next;
      });
    },

    // app/dashboard/pages/what_if_form.py: what is looked for is not entered, and a stretched plan has no form of its own.
    whatIfFields: function (family, length) {
      var stretched = family === "stretched";
      var searched = family === "any" || length === "best";
      return [stretched || searched, stretched || searched, stretched];
    },

    rememberQuery: function (query) {
      if (query) window.history.replaceState(window.history.state, "", window.location.pathname + "?" + query);
    },

    zoomed: function (relayout, _whole, _latest, figure) {
      var triggered = window.dash_clientside.callback_context.triggered_id;
      var meta = (figure && figure.layout && figure.layout.meta) || {};
      if (triggered === "run-whole") return null;
      if (triggered === "run-latest") {
        var last = meta.last_step;
        return last > 10 ? [0.9 * last, 1.02 * last] : null;
      }
      if (!relayout) return noUpdate();
      var range = relayout["xaxis.range"];
      var low = range ? range[0] : relayout["xaxis.range[0]"];
      var high = range ? range[1] : relayout["xaxis.range[1]"];
      // Plotly also reports, now and then, the range that we have just set: that is nobody's zoom.
      var shown = meta.shown || [];
      if (low === shown[0] && high === shown[1]) return noUpdate();
      if (Number.isFinite(low) && Number.isFinite(high) && high > low) return [low, high];
      return relayout["xaxis.autorange"] ? null : noUpdate();
    },
  };
})();
