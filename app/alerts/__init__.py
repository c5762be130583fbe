"""Rules that decide when an alert fires and when it resolves. Pure; `app.notify` delivers."""
