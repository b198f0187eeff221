// The gateway's events: read by fetch, since an EventSource cannot carry a key.

const KEY_NAME = "penstock-key";

function headers(more = {}) {
  const key = sessionStorage.getItem(KEY_NAME);
  return key ? { ...more, Authorization: `Bearer ${key}` } : more;
}

async function* events_of(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const parts = (rest + value).split("\n\n");
    rest = parts.pop();
    for (const part of parts) {
      const event = { name: "message", data: "" };
      for (const row of part.split("\n")) {
        if (row.startsWith("event: ")) event.name = row.slice(7);
        if (row.startsWith("data: ")) event.data += row.slice(6);
      }
      if (event.data) yield event;
    }
  }
}

function say_link(state, text) {
  $("link").dataset.state = state;
  $("link").textContent = text;
}

const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

async function follow(on_history, on_state) {
  for (let wait = 500; ; wait = Math.min(wait * 2, 8000)) {
    try {
      const response = await fetch("/cluster/live", { headers: headers() });
      $("key").hidden = response.status !== 401;
      if (response.status === 401) {
        say_link("lost", "needs a key");
        return;
      }
      if (!response.ok) throw new Error(`status ${response.status}`);
      for await (const event of events_of(response)) {
        wait = 500;
        say_link("live", "live");
        (event.name === "history" ? on_history : on_state)(JSON.parse(event.data));
      }
    } catch (error) {
      console.info("the feed broke:", error);
    }
    say_link("lost", "gateway lost, trying again");
    await pause(wait);
  }
}
