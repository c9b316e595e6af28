// A gRPC server and a client, npm's @grpc/grpc-js, for t/bearer_grpc.t.
//
// It prints the server's port, and then answers each line of JSON with one:
//
//     {"refuse": ["Bearer AT-1"]}    the server refuses these from now on;
//                                    {} is printed
//     {"call": "unary", "port": N}   a call to that port; {code, messages, seen}
//                                    is printed: the status, what came, and
//                                    the Authorization that the server has seen
//                                    in each attempt. "retry": true has the
//                                    client repeat what is UNAUTHENTICATED.
//
// Calls: unary, client (a stream of three messages), server (three come), both,
// late (the server refuses after a message).

import { createInterface } from 'node:readline';
import grpc from '@grpc/grpc-js';

const UNAUTHENTICATED = {
    code: grpc.status.UNAUTHENTICATED, details: 'the token is not valid',
};

const method = (name, requestStream, responseStream) => ({
    path: `/test.Echo/${name}`, requestStream, responseStream,
    requestSerialize: Buffer.from, requestDeserialize: String,
    responseSerialize: Buffer.from, responseDeserialize: String,
});

const methods = {
    unary: method('unary', false, false),
    client: method('client', true, false),
    server: method('server', false, true),
    both: method('both', true, true),
    late: method('late', false, true),
};

let refuse = [];
let seen = [];

const refused = (call) => {
    const [value] = call.metadata.get('authorization');

    seen.push(value ?? null);
    return refuse.includes(value);
};

const server = new grpc.Server();

server.addService(methods, {
    unary: (call, done) => refused(call) ? done(UNAUTHENTICATED)
        : done(null, call.request),

    client: (call, done) => {
        const messages = [];

        if (refused(call)) {
            done(UNAUTHENTICATED);
            return;
        }

        call.on('data', (message) => messages.push(message));
        call.on('end', () => done(null, messages.join(' ')));
    },

    server: (call) => {
        if (refused(call)) {
            call.emit('error', UNAUTHENTICATED);
            return;
        }

        for (const n of [1, 2, 3]) {
            call.write(`${call.request}${n}`);
        }

        call.end();
    },

    both: (call) => {
        if (refused(call)) {
            call.emit('error', UNAUTHENTICATED);
            return;
        }

        call.on('data', (message) => call.write(message));
        call.on('end', () => call.end());
    },

    late: (call) => {
        const no = refused(call);

        call.write(call.request);

        if (no) {
            call.emit('error', UNAUTHENTICATED);
        } else {
            call.end();
        }
    },
});

const RETRY = JSON.stringify({
    methodConfig: [{
        name: [{ service: 'test.Echo' }],
        retryPolicy: {
            maxAttempts: 3, initialBackoff: '0.05s', maxBackoff: '0.1s',
            backoffMultiplier: 1, retryableStatusCodes: ['UNAUTHENTICATED'],
        },
    }],
});

const run = (name, port, retry) => new Promise((resolve) => {
    const { path, requestStream, responseStream, requestSerialize,
        responseDeserialize } = methods[name];
    const client = new grpc.Client(`127.0.0.1:${port}`,
        grpc.credentials.createInsecure(),
        retry ? { 'grpc.service_config': RETRY } : {});
    const metadata = new grpc.Metadata();
    const options = { deadline: Date.now() + 10000 };
    const messages = [];

    metadata.set('authorization', 'Basic caller');
    seen = [];

    const kind = requestStream ? (responseStream ? 'Bidi' : 'Client')
        : (responseStream ? 'Server' : 'Unary');
    const make = `make${kind}${kind === 'Unary' ? '' : 'Stream'}Request`;
    const call = client[make](path, requestSerialize, responseDeserialize,
        ...(requestStream ? [] : ['hello']), metadata, options,
        ...(responseStream ? [] : [(error, message) => {
            if (!error) {
                messages.push(message);
            }
        }]));

    if (responseStream) {
        call.on('data', (message) => messages.push(message));
        call.on('error', () => {});
    }

    call.on('status', ({ code }) => setImmediate(() => {
        client.close();
        resolve({ code, messages, seen });
    }));

    if (requestStream) {
        for (const message of ['a', 'b', 'c']) {
            call.write(message);
        }

        call.end();
    }
});

server.bindAsync('127.0.0.1:0', grpc.ServerCredentials.createInsecure(),
    async (error, port) => {
        if (error) {
            throw error;
        }

        console.log(port);

        for await (const line of createInterface({ input: process.stdin })) {
            const command = JSON.parse(line);

            if (command.refuse) {
                refuse = command.refuse;
                console.log('{}');
            } else {
                console.log(JSON.stringify(
                    await run(command.call, command.port, command.retry)));
            }
        }

        process.exit(0);
    });
