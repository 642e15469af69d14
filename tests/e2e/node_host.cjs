// SPDX-License-Identifier: MIT
// Generates text with the ggml and llama.cpp that a package of node-llama-cpp brings, by its addon alone.
//
//   node node_host.cjs ADDON '{"model": FILE, "prompt": TEXT, ...}'
//
// Other keys: tokens (how many to generate), gpuLayers, batch, lora (a file), state (a file: the prompt's state is
// written there, dropped and read back before the first token). Prints one line of JSON: devices, tokens, text, log
// (lines of the plug-in).
const [, , addonPath, text] = process.argv;
const wanted = {tokens: 16, gpuLayers: 999, batch: 512, context: 1024, ...JSON.parse(text)};
const lines = [];

function openAddon() {
    const holder = {exports: {}};
    process.dlopen(holder, addonPath);
    const addon = holder.exports;
    addon.setLogger((level, message) => message.includes("ggml-rknpu2:") && lines.push(message.trim()));
    addon.setLoggerLogLevel(6);
    addon.loadBackends();
    if (addon.getGpuType() == null) addon.loadBackends(require("path").dirname(addonPath));
    return addon;
}

async function openModel(addon) {
    const params = {gpuLayers: wanted.gpuLayers, useMmap: true, addonExports: addon};
    const model = new addon.AddonModel(wanted.model, params);
    if (!(await model.init())) throw new Error(`cannot load ${wanted.model}`);
    return model;
}

async function openContext(addon, model) {
    const context = new addon.AddonContext(model, {
        contextSize: wanted.context, batchSize: wanted.batch, sequences: 1, flashAttention: true, threads: 2,
    });
    if (!(await context.init())) throw new Error("cannot make a context");
    return context;
}

async function addLora(addon, model, context) {
    const lora = new addon.AddonModelLora(model, wanted.lora);
    await model.loadLora(lora);
    if (context.setLoras) {
        context.setLoras([lora], [1]);
    } else {
        context.setLora(lora, 1);
    }
}

// Returns the place of the logits of the last token.
async function decode(context, first, tokens) {
    let logits;
    for (let at = 0; at < tokens.length; at += wanted.batch) {
        const part = tokens.slice(at, at + wanted.batch);
        context.initBatch(part.length);
        const last = at + part.length === tokens.length ? [part.length - 1] : [];
        logits = context.addToBatch(0, first + at, Uint32Array.from(part), Uint32Array.from(last));
        await context.decodeBatch();
    }
    return logits[0];
}

// The prompt's state goes to a file and comes back; its last token is computed once more.
async function throughAFile(context, prompt) {
    await context.saveSequenceStateToFile(wanted.state, 0, Uint32Array.from(prompt));
    context.disposeSequence(0);
    await context.loadSequenceStateFromFile(wanted.state, 0, wanted.context);
    context.removeTokenCellsFromSequence(0, prompt.length - 1, prompt.length);
    return await decode(context, prompt.length - 1, prompt.slice(-1));
}

async function generate(addon, model, context) {
    const prompt = Array.from(model.tokenize(wanted.prompt, false));
    let place = await decode(context, 0, prompt);
    if (wanted.state) place = await throughAFile(context, prompt);
    const sampler = new addon.AddonSampler(model);
    sampler.applyConfig({temperature: 0});
    const tokens = [];
    while (tokens.length < wanted.tokens) {
        const token = await context.sampleToken(place, sampler);
        if (token < 0 || model.isEogToken(token)) break;
        tokens.push(token);
        place = await decode(context, prompt.length + tokens.length - 1, [token]);
    }
    return {prompt: prompt.length, tokens, text: model.detokenize(Uint32Array.from(tokens), false)};
}

async function main() {
    const addon = openAddon();
    await addon.init();
    const devices = addon.getGpuDeviceInfo().deviceNames;
    const model = await openModel(addon);
    const context = await openContext(addon, model);
    if (wanted.lora) await addLora(addon, model, context);
    const made = await generate(addon, model, context);
    await context.dispose();
    await model.dispose();
    await addon.dispose();
    console.log(JSON.stringify({devices, ...made, log: lines}));
}

main().catch((error) => {
    console.error(String(error.stack ?? error));
    process.exit(1);
});
