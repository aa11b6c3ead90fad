// Walks through a recorded attempt as an editor would, with Microsoft's test client of the protocol.
// Usage: node client.mjs WALK RELIVE EXECUTION; where the server is and the token are in the environment. The attempts are
// those of tests/tests/dap.rs, which names the walks.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { DebugClient } from '@vscode/debugadapter-testsupport';

const [walk, relive, execution] = process.argv.slice(2);
const adapter = spawn(relive, ['exec', 'debug', execution, '--dap'], { stdio: ['pipe', 'pipe', 'pipe'] });
const ended = new Promise(resolve => adapter.on('exit', resolve));
let complaints = '';
adapter.stderr.on('data', text => { complaints += text; });
const client = new DebugClient(relive, '', 'relive');
client.connect(adapter.stdout, adapter.stdin);

/** Asks for something that moves, and answers why and where it stopped. */
async function stop(move) {
  const [event] = await Promise.all([client.waitForEvent('stopped', 20000), move()]);
  const { body } = await client.stackTraceRequest({ threadId: 1 });
  return [event.body.reason, body.stackFrames[0].line];
}
const variable = async name => {
  const { body } = await client.evaluateRequest({ expression: name, frameId: 1 });
  return body.result;
};
const initialized = () => Promise.all([client.waitForEvent('initialized', 20000), client.initializeRequest()]);
const breakpoints = async (name, lines) => {
  const asked = { source: { name }, breakpoints: lines.map(line => ({ line })) };
  return (await client.setBreakpointsRequest(asked)).body.breakpoints;
};

const walks = {
  async 'both-ways'() {
    const [, capabilities] = await initialized();
    assert.equal(capabilities.body.supportsStepBack, true);
    await client.launch({});
    const set = await breakpoints('worker.rhai', [2, 5]);
    assert.deepEqual(set.map(b => b.verified), [true, false]);
    assert.match(set[1].message, /no code/);

    // It stands at the line that failed.
    assert.deepEqual(await stop(() => client.configurationDoneRequest()), ['exception', 4]);
    assert.equal(await variable('total'), '3');
    const threads = await client.threadsRequest();
    assert.equal(threads.body.threads.length, 1);
    const scopes = await client.scopesRequest({ frameId: 1 });
    const locals = await client.variablesRequest({ variablesReference: scopes.body.scopes[0].variablesReference });
    const item = locals.body.variables.find(one => one.name === 'item');
    const parts = await client.variablesRequest({ variablesReference: item.variablesReference });
    assert.deepEqual(parts.body.variables.map(one => [one.name, one.value]), [['prise', '4']]);

    // Backwards, and the same forwards again.
    const back = await stop(() => client.stepBackRequest({ threadId: 1 }));
    assert.equal(back[0], 'step');
    const then = await variable('total');
    const forth = await stop(() => client.stepInRequest({ threadId: 1 }));
    assert.deepEqual(forth, ['step', 4]);
    assert.deepEqual(await stop(() => client.stepBackRequest({ threadId: 1 })), back);
    assert.equal(await variable('total'), then);
    assert.deepEqual(await stop(() => client.reverseContinueRequest({ threadId: 1 })), ['breakpoint', 2]);
    assert.deepEqual(await stop(() => client.nextRequest({ threadId: 1 })), ['step', 3]);
    assert.deepEqual(await stop(() => client.continueRequest({ threadId: 1 })), ['exception', 4]);

    const { body: { content } } = await client.sourceRequest({ sourceReference: 1 });
    assert.match(content, /^let order = /);
    await assert.rejects(client.gotoRequest({ threadId: 1, targetId: 1 }), /not supported/);
    await assert.rejects(client.evaluateRequest({ expression: 'nothing', frameId: 1 }), /no variable in scope/);
    await client.disconnectRequest({});
    assert.equal(await ended, 0);
  },

  async imports() {
    await initialized();
    await client.launch({});
    assert.deepEqual((await breakpoints('worker.rhai', [2])).map(b => b.verified), [true]);
    assert.deepEqual((await breakpoints('lib.rhai', [2, 5])).map(b => b.verified), [true, false]);
    const frames = async () => {
      const { body } = await client.stackTraceRequest({ threadId: 1 });
      return body.stackFrames.map(frame => [frame.name, frame.source.name, frame.line]);
    };
    const outer = ['(script)', 'worker.rhai', 2];
    assert.deepEqual(await stop(() => client.configurationDoneRequest()), ['exception', 3]);
    assert.deepEqual(await frames(), [['total', 'lib.rhai', 3], outer]);
    assert.equal(await variable('sum'), '3');
    assert.deepEqual(await stop(() => client.reverseContinueRequest({ threadId: 1 })), ['breakpoint', 2]);
    assert.deepEqual(await frames(), [['total', 'lib.rhai', 2], outer]);
    assert.deepEqual(await stop(() => client.stepOutRequest({ threadId: 1 })), ['exception', 3]);
    assert.deepEqual(await stop(() => client.reverseContinueRequest({ threadId: 1 })), ['breakpoint', 2]);
    assert.deepEqual(await stop(() => client.reverseContinueRequest({ threadId: 1 })), ['breakpoint', 2]);
    assert.deepEqual(await frames(), [outer]);
    await client.disconnectRequest({});
    assert.equal(await ended, 0);
  },

  async refused() {
    await client.initializeRequest();
    await assert.rejects(client.launchRequest({}), /no execution/);
    await client.disconnectRequest({});
    assert.equal(await ended, 3);
    assert.match(complaints, /no execution/);
  },
};

await walks[walk]();
console.log('walked');
