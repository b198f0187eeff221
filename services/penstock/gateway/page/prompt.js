// The prompt box: streams an answer, then shows where the time of that request went.

let asking = null;

async function ask(model, prompt, max_tokens) {
  asking = new AbortController();
  const request_id = `page-${crypto.getRandomValues(new Uint32Array(2)).join("-")}`;
  $("answer").className = "";
  $("answer").textContent = "";
  $("timeline").replaceChildren();
  $("send").disabled = true;
  $("stop").disabled = false;
  try {
    const body = { model, messages: [{ role: "user", content: prompt }], max_tokens, stream: true };
    const response = await fetch("/v1/chat/completions", {
      method: "POST",
      headers: headers({ "Content-Type": "application/json", "x-request-id": request_id }),
      body: JSON.stringify(body),
      signal: asking.signal,
    });
    if (!response.ok) throw new Error((await response.json()).error.message);
    for await (const event of events_of(response)) {
      if (event.data === "[DONE]") break;
      const chunk = JSON.parse(event.data);
      if (chunk.error) throw new Error(chunk.error.message);
      $("answer").textContent += chunk.choices.map((choice) => choice.delta.content || "").join("");
    }
  } catch (error) {
    if (error.name !== "AbortError") {
      $("answer").className = "bad";
      $("answer").textContent += `${$("answer").textContent ? "\n" : ""}${error.message}`;
    }
  } finally {
    asking = null;
    $("send").disabled = false;
    $("stop").disabled = true;
  }
  await show_timeline(request_id);
}

async function show_timeline(request_id) {
  for (let attempt = 0; attempt < 5; attempt += 1) {
    const response = await fetch(`/cluster/requests/${request_id}`, { headers: headers() });
    if (!response.ok) return;
    const request = await response.json();
    if (request.state === "finished") {
      $("timeline").replaceChildren(waterfall(request));
      return;
    }
    await pause(200);
  }
}

function waterfall(request) {
  const stages = request.sequences.flatMap((sequence) => sequence.stages);
  const end_s = Math.max(request.e2e_s || 0, ...stages.map((stage) => stage.ended_s), 1e-6);
  const rows = stages.flatMap((stage) => {
    const x = (1000 * stage.began_s) / end_s;
    const width = Math.max(2, (1000 * (stage.ended_s - stage.began_s)) / end_s);
    const bar = s("rect", { x, y: 2, width, height: 10, rx: 2, class: `bar ${stage.stage}` });
    const track = s("rect", { x: 0, y: 6, width: 1000, height: 2, class: "track" });
    return [
      h("span", {}, stage.stage, " ", h("small", {}, stage.where || "")),
      s("svg", { viewBox: "0 0 1000 14", preserveAspectRatio: "none", "aria-hidden": "true" }, track, bar),
      h("span", {}, seconds(stage.ended_s - stage.began_s)),
    ];
  });
  const sum = `${request.num_prompt_tokens} prompt tokens (${request.num_cached_tokens} cached), ` +
    `${request.num_output_tokens} output tokens, first after ${seconds(request.ttft_s)}, all after ${seconds(request.e2e_s)}`;
  return h("div", {}, h("p", { class: "note" }, sum), h("div", { class: "waterfall" }, ...rows));
}
