# The zip for AWS Lambda, as "./build.sh lambda" makes it, in a sandbox that has
# nothing but the zip: a read-only root, a user without rights, and a Runtime
# API that this test plays. It is frozen between invocations, as Lambda does.

use strict;
use warnings;
use lib 't/lib';

use JSON::PP ();
use MIME::Base64 qw(decode_base64 encode_base64);
use Test::More;
use Time::HiRes qw(sleep time);
use Token::Endpoint;
use Token::Lambda;
use Token::Util qw($ROOT slurp slurp_or_empty spew wait_for work_dir);

plan(skip_all => 'no unzip') if system('command -v unzip > /dev/null');
plan(skip_all => 'bubblewrap is missing, or can make no sandbox on this machine')
    if !Token::Lambda::possible();
plan(tests => 198);

my $zip = ($ENV{BUILD_DIR} // "$ROOT/build") . '/lambda/token.zip';
my $task = work_dir();
my $endpoint = Token::Endpoint->new;
my %ENVIRONMENT = (TOKEN_ENDPOINT => $endpoint->url, CONSUMER_KEY => 'my-key',
    CONSUMER_SECRET => 'my-secret', CORS_ORIGIN => 'https://app.example.com');
my $ORIGIN = 'https://app.example.com';


# the zip
{
    my $conf = spew(work_dir() . '/other.conf', "events {}\n");
    my $output = `'$ROOT/build.sh' lambda /nowhere.conf 2>&1`;
    is($output, "build.sh: no file /nowhere.conf\n", './build.sh lambda without its nginx.conf');

    $output = `'$ROOT/build.sh' lambda '$conf' '$conf' 2>&1`;
    is($output, "build.sh: $conf has no certificate in PEM\n", '... with authorities that are none');

    my $begin = "-----BEGIN CERTIFICATE-----\n";
    my $authorities = spew("$conf.pem", $begin);

    $output = `'$ROOT/build.sh' lambda '$conf' '$authorities' 2>&1`;
    is(`unzip -p '$zip' ca.pem nginx.conf`, "${begin}events {}\n",
        '... with another one, and other authorities') or diag($output);

    $output = `'$ROOT/build.sh' lambda 2>&1`;
    is($?, 0, './build.sh lambda') or diag($output);

    my $bytes = slurp($zip);
    cmp_ok(length $bytes, '<', 6_000_000, '... makes a zip below 6 MB');

    $output = `'$ROOT/build.sh' lambda 2>&1`;
    ok(slurp($zip) eq $bytes, '... and the same bytes once more') or diag($output);
    is(system('unzip', '-q', $zip, '-d', $task), 0, '... which can be unpacked');
    ok(!grep({ !-e "$task/$_" } qw(bootstrap nginx nginx.conf ca.pem
        modules/ngx_http_token_module.so libs/ld.so)), '... with all that it needs');
    is((stat "$task/bootstrap")[2] & 0777, 0755, '... and can be executed');
}


# what comes out of an event of both kinds
my $lambda = Token::Lambda->new($task, env => \%ENVIRONMENT);

ok($lambda->idle, 'it starts');
note(sprintf '... within %.0f ms, those of the sandbox among them',
    1000 * ($lambda->{next}{at} - $lambda->{started}));

{
    my ($pid) = $lambda->pids('worker process');
    my $status = slurp("/proc/$pid/status");
    my $mounts = slurp("/proc/$pid/mountinfo");

    like($status, qr/^CapEff:\s*0+$/m, 'it has no rights');
    like($status, qr/^CapBnd:\s*0+$/m, '... and gets none');
    like($mounts, qr{^(?:\S+ ){4}/ ro\b}m, '... its root is read-only');
    like($mounts, qr{^(?:\S+ ){4}/var/task ro\b}m, '... and so is the zip');
    unlike(slurp("/proc/$pid/maps"), qr{ /(?!var/task/|dev/zero|SYSV)\S+$}m,
        '... it has no library but those of the zip');
}

for my $kind ('1.0', '2.0') {
    my $event = $kind eq '1.0' ? \&Token::Lambda::rest : \&Token::Lambda::http;
    my $ask = sub { $lambda->invoke($event->(@_)) // {} };

    $endpoint->reset;

    my $got = $ask->(GET => '/token', { Host => 'x.example.com', Origin => $ORIGIN });
    is($got->{kind}, 'response', "$kind: GET");
    is($got->{json}{statusCode}, 200, '... is answered');
    like($got->{json}{body}, qr/^\{"access_token":"AT-\d+","refresh_token":"RT-\d+"\}$/,
        '... with a token');
    ok(!$got->{json}{isBase64Encoded}, '... as text');
    is($got->{json}{headers}{'Content-Type'}, 'application/json', '... in JSON');
    is($got->{json}{headers}{'Cache-Control'}, 'no-store', '... that is not stored');
    is($got->{json}{headers}{'Access-Control-Allow-Origin'}, $ORIGIN,
        '... to its origin');
    is(join(' ', grep { /^(?:Connection|Date|Server|Content-Length)$/i }
        keys %{ $got->{json}{headers} }), '', '... with nothing of the connection');

    $got = $ask->(POST => '/token', { 'Content-Type' => 'text/plain' }, body => 'x');
    is($got->{json}{statusCode}, 200, "$kind: POST");

    $got = $ask->(HEAD => '/token', {});
    is($got->{json}{statusCode}, 200, "$kind: HEAD");
    is($got->{json}{body}, '', '... without a body');

    $got = $ask->(PUT => '/token', {}, body => encode_base64('x' x 5000, ''),
        isBase64Encoded => JSON::PP::true);
    is($got->{json}{statusCode}, 405, "$kind: PUT");
    is($got->{json}{headers}{Allow}, 'GET, HEAD, POST, OPTIONS',
        '... tells what is allowed');

    $got = $ask->(OPTIONS => '/token', { origin => $ORIGIN,
        'access-control-request-method' => 'GET' });
    is($got->{json}{statusCode}, 204, "$kind: a preflight");
    is($got->{json}{headers}{'Access-Control-Allow-Origin'}, $ORIGIN,
        '... is answered');

    $got = $ask->(GET => '/token', { Origin => 'https://evil.example.com' });
    is($got->{json}{statusCode}, 403, "$kind: another origin");
    unlike($got->{body}, qr/AT-/, '... gets no token');

    is($ask->(GET => '/', {})->{json}{statusCode}, 404, "$kind: another path");
    is($ask->(GET => '/token-status', {})->{json}{statusCode}, 404,
        "$kind: the status is for nobody");
    is($endpoint->calls, $kind eq '1.0' ? 1 : 0, "$kind: one call for all of them");
}


# events that API Gateway never sends, and those that callers would like it to
{
    my %rest = %{ Token::Lambda::rest(GET => '/token', {}) };
    my %http = %{ Token::Lambda::http(GET => '/token', {}) };
    my $deep = '[' x 100_000;

    for my $case (
        ['nothing', ''],
        ['no JSON', '{"httpMethod":'],
        ['JSON and more', '{"httpMethod":"GET","path":"/token"}{}'],
        ['a NUL', qq({"httpMethod":"GET","path":"/token","a":"\0"})],
        ['an array', '[]'],
        ['a string', '"/token"'],
        ['null', 'null'],
        ['an empty object', {}],
        ['deep JSON', $deep],
        ['half of a surrogate', '{"httpMethod":"GET","path":"/\ud800"}'],
        ['a method that is a number', { %rest, httpMethod => 7 }],
        ['a path that is an object', { %rest, path => {} }],
        ['no path', { %http, rawPath => undef }],
        ['no context', { %http, requestContext => 'x' }])
    {
        my $got = $lambda->invoke($case->[1]) // {};

        is($got->{kind}, 'error', "an event: $case->[0]");
        is($got->{json}{errorType}, 'Token.InvalidEvent', '... is an error');
    }

    for my $case (
        ['a method with a blank', { %rest, httpMethod => 'GET /token HTTP/1.1' }],
        ['a method with a line break', { %rest, httpMethod => "GET\r\n" }],
        ['an empty method', { %rest, httpMethod => '' }],
        ['a long method', { %rest, httpMethod => 'A' x 1000 }],
        ['a path without a slash', { %rest, path => 'token' }],
        ['an empty path', { %rest, path => '' }],
        ['an absolute URL', { %rest, path => 'http://evil.example.com/token' }],
        ['a header with a line break', { %rest, multiValueHeaders => undef,
            headers => { 'X-A' => "a\r\nAuthorization: Basic x" } }],
        ['a header with a bare LF', { %rest, multiValueHeaders => { 'X-A' => ["a\nb"] } }],
        ['a header with a NUL', { %http, headers => { 'X-A' => "a\0b" } }],
        ['a name with a line break', { %http, headers => { "X-A: b\r\nX-B" => 'c' } }],
        ['a name with a colon', { %http, headers => { 'X-A:' => 'c' } }],
        ['an empty name', { %http, headers => { '' => 'c' } }],
        ['a host with a line break', { %http, headers => { Host => "a\r\nX-B: c" } }],
        ['a header that is a number', { %http, headers => { 'X-A' => 7 } }],
        ['a header that is null', { %rest, multiValueHeaders => { 'X-A' => [undef] } }],
        ['headers that are a list', { %http, headers => [] }],
        ['a cookie with a line break', { %http, cookies => ["a=b\r\nX-A: c"] }],
        ['a cookie that is an object', { %http, cookies => [{}] }],
        ['a parameter that is a list', { %rest,
            multiValueQueryStringParameters => { a => [[]] } }],
        ['a body that is a list', { %rest, body => [] }],
        ['a body that is no base64', { %rest, body => 'YQ=a', isBase64Encoded => JSON::PP::true }],
        ['a body of half a base64', { %rest, body => 'YWI', isBase64Encoded => JSON::PP::true }],
        ['a body with a NUL', { %rest, body => "a\0b" }])
    {
        my $got = $lambda->invoke($case->[1]) // {};

        is($got->{kind} && $got->{json}{statusCode}, 400, $case->[0])
            or diag(explain $got->{body});
    }

    for my $case (
        ['a line break in the path', 404, { %rest, path => "/token HTTP/1.1\r\nX-A: b" }],
        ['a line break in the query', 200,
            { %http, rawQueryString => "a=b HTTP/1.1\r\nX-A: c" }],
        ['a host in the path', 200, { %rest, path => '//token' }],
        ['a name of the stage', 200, { %http, rawPath => '/prod/token',
            requestContext => { stage => 'prod', http => { method => 'GET' } } }],
        ['a path of a megabyte', 414, { %rest, path => '/' . 'a' x 1_000_000 }],
        ['a header of a megabyte', 400, { %http, headers => { 'X-A' => 'a' x 1_000_000 } }],
        ['a body of five megabytes', 200, { %rest, httpMethod => 'POST',
            body => 'a' x 5_000_000 }],
        ['no headers at all', 200, { %rest, headers => undef, multiValueHeaders => undef }])
    {
        my $got = $lambda->invoke($case->[2]) // {};

        is($got->{kind} && $got->{json}{statusCode}, $case->[1], $case->[0])
            or diag(explain $got->{body});
    }

    is(($lambda->invoke(\%rest, chunked => 1) // {})->{json}{statusCode}, 200,
        'an event that comes in chunks');
    is(($lambda->invoke(\%rest, answer => 400) // {})->{json}{statusCode}, 200,
        'a result that is not taken');
    ok((wait_for { $lambda->log =~ /takes no answer: status 400/ } 5), '... is told');
    is(($lambda->invoke(\%rest) // {})->{json}{statusCode}, 200,
        'after all of them it serves');
    is(scalar($lambda->pids), 4, '... with the same processes');
}


# what nginx gets, and what becomes of its answers, with another nginx.conf
{
    my $conf = spew(work_dir() . '/nginx.conf', slurp("$task/nginx.conf") =~ s{
        (?=\n\ +location\ /\ \{)}{
        location = /echo {
            add_header Set-Cookie a=b;
            add_header Set-Cookie c=d;
            add_header X-Twice one;
            add_header X-Twice two;
            add_header X-Once "gr\x{fc}n";
            add_header Content-Type text/plain;
            return 200 "\$request_method \$request_uri|\$remote_addr|\$http_cookie|\$http_x_forwarded_for|\$http_x_many|\$http_x_real_ip|\$content_length|\$host";
        }

        location = /basic {
            token_proxy                on;
            token_proxy_endpoint       \${TOKEN_ENDPOINT};
            token_proxy_cache          tokens;
            token_proxy_auth_basic     "tokens";
            token_proxy_auth_basic_user page env:PAGE_PASSWORD;
        }

        location = /binary { alias /var/task/modules/ngx_http_token_module.so; }
        location = /large { alias /var/task/libs/libcrypto.so.3; }
}xr);

    my $other = Token::Lambda->new($task, conf => $conf,
        env => { %ENVIRONMENT, PAGE_PASSWORD => 'open' });
    my $rest = sub { $other->invoke(Token::Lambda::rest(@_))->{json} };
    my $http = sub { $other->invoke(Token::Lambda::http(@_))->{json} };
    my %spoof = ('X-Forwarded-For' => '10.0.0.1', 'X-Real-IP' => '10.0.0.2',
        Forwarded => 'for=10.0.0.3', Connection => 'x', 'Content-Length' => '99',
        'Transfer-Encoding' => 'chunked', Expect => '100-continue',
        Cookie => 'a=b', Host => 'x.example.com', 'X-Many' => ['one', 'two']);

    my $got = $rest->(GET => '/echo', \%spoof,
        multiValueQueryStringParameters => { 'a b' => ['1&2', "\x{fc}"] });

    # nginx before 1.23 shows the first of several headers
    is($got->{body} =~ s/\|one\|/|one, two|/r, 'GET /echo?a%20b=1%262&a%20b=%C3%BC|'
        . '203.0.113.7|a=b|203.0.113.7|one, two|||x.example.com', '1.0: what nginx gets');
    is_deeply($got->{multiValueHeaders}, { 'Set-Cookie' => ['a=b', 'c=d'],
        'X-Twice' => ['one', 'two'], 'Content-Type' => ['text/plain', 'text/plain'] },
        '... and headers that are there more than once')
        or diag(explain $got);
    is($got->{headers}{'X-Once'}, "gr\x{fc}n", '... and one in Latin-1');

    $got = $http->(POST => '/echo', { %spoof, Cookie => undef }, body => 'four',
        cookies => ['a=1', 'b=2'], rawQueryString => 'a%20b=1%262',
        headers => { 'x-many' => 'one,two', 'x-forwarded-for' => '10.0.0.1' });

    is($got->{body}, 'POST /echo?a%20b=1%262|203.0.113.7|a=1; b=2|203.0.113.7|one,two||4'
        . '|x.lambda-url.example.com', '2.0: what nginx gets');
    is_deeply($got->{cookies}, ['a=b', 'c=d'], '... and cookies of an answer');
    is($got->{headers}{'X-Twice'}, 'one, two', '... and headers of it, in one');

    for my $address ('test-invoke-source-ip', "1.2.3.4\r\nX-A: b", '') {
        $got = $rest->(GET => '/echo', {}, requestContext => {
            identity => { sourceIp => $address } });
        like($got->{body}, qr/\|unix:\|\|\|/, 'an address that is none: "'
            . ($address =~ s/\r\n.*//sr) . '"');
    }

    is($rest->(GET => '/echo', {}, requestContext => { identity =>
        { sourceIp => '2001:db8::7' } })->{body} =~ /\|2001:db8::7\|/ ? 1 : 0, 1,
        'an address of IPv6');

    $got = $rest->(GET => '/basic', {});
    is($got->{statusCode}, 401, 'Basic: without a password');
    like($got->{headers}{'WWW-Authenticate'}, qr/^Basic realm="tokens"/,
        '... it is asked for');
    is($rest->(GET => '/basic', { Authorization => 'Basic ' . encode_base64('page:open', '') })
        ->{statusCode}, 200, '... with the right one');
    is($http->(GET => '/basic', { authorization => 'Basic ' . encode_base64('page:shut', '') })
        ->{statusCode}, 401, '... with a wrong one');

    $got = $rest->(GET => '/binary', {});
    ok($got->{isBase64Encoded}, 'an answer that is no text');
    ok(decode_base64($got->{body}) eq slurp("$task/modules/ngx_http_token_module.so"),
        '... comes as base64');

    $got = $rest->(GET => '/large', {});
    is($got->{statusCode}, 502, 'an answer that is larger than Lambda takes');
    is($rest->(GET => '/token', {})->{statusCode}, 200, '... and it goes on');

    $got = $rest->(HEAD => '/large', {});
    is($got->{statusCode}, 200, 'HEAD of it');
    is($got->{body}, '', '... has no body');
}


# frozen between invocations
{
    $endpoint->reset;
    $endpoint->answer(expires_in => 2);
    $lambda->stop;
    $lambda = Token::Lambda->new($task, env => \%ENVIRONMENT);

    my ($event, %first, %wrong, @seconds) = (Token::Lambda::rest(GET => '/token', {}));
    my $frozen = 0;

    for my $n (1 .. 1000) {
        my $got = $lambda->invoke($event) // last;
        my ($token) = ($got->{json}{body} // '') =~ /"access_token":"(AT-\d+)"/;

        push @seconds, $got->{seconds};
        $wrong{ $got->{body} }++ if !$token;
        $wrong{"$token has expired"}++
            if $token && $got->{at} - ($first{$token} //= $got->{at}) > 2;
        $lambda->idle // last;

        if ($n % 50 == 0) {
            $frozen = $lambda->freeze;
            sleep($n % 250 ? 0.1 : 2.2);
            $lambda->thaw;
        }
    }

    is(scalar(@seconds), 1000, '1000 invocations, frozen in between');
    is($frozen, 4, '... with all processes');
    is_deeply(\%wrong, {}, '... each with a token') or diag(explain \%wrong);
    cmp_ok(scalar(keys %first), '>=', 4, '... of several lifetimes');
    cmp_ok($endpoint->calls, '<=', 20, '... with few calls of the endpoint');
    is($lambda->log, '', '... and nothing to complain about');

    @seconds = sort { $a <=> $b } @seconds;
    note(sprintf '... half of them within %.2f ms', 1000 * $seconds[500]);
}


# the next event is asked for when the endpoint has answered
{
    $endpoint->reset;
    $endpoint->answer(expires_in => 4, delay => 0.7);
    $lambda->stop;
    $lambda = Token::Lambda->new($task, env => \%ENVIRONMENT);

    my $event = Token::Lambda::rest(GET => '/token', {});
    my ($got, $answered);

    # due at half of its lifetime, and something at random
    wait_for {
        $got = $lambda->invoke($event);
        $lambda->idle;
        $answered = $endpoint->calls;
        $answered == 2;
    } 6;

    is($answered, 2, 'a renewal behind an answer');
    cmp_ok($lambda->{next}{at} - $got->{at}, '>', 0.4,
        '... is waited for, before the next event is asked for');
    is($lambda->freeze, 4, '... and nothing is in flight');
    sleep 0.5;
    $lambda->thaw;
    like($lambda->invoke($event)->{body}, qr/AT-2/, '... and has the new token');

    $lambda->idle;
    $endpoint->reset;
    $endpoint->answer(delay => 20);
    wait_for { $got = $lambda->invoke($event); $lambda->idle; $endpoint->calls } 6;
    cmp_ok($lambda->{next}{at} - $got->{at}, '>', 0.8, 'one that takes long is waited for');
    cmp_ok($lambda->{next}{at} - $got->{at}, '<', 4, '... about a second');
    $endpoint->answer();
}


# an endpoint that is slower than the function may be
{
    my $slow = Token::Lambda->new($task, env => \%ENVIRONMENT);

    $endpoint->answer(delay => 10);

    my $got = $slow->invoke(Token::Lambda::rest(GET => '/token', {}), milliseconds => 1500);
    is($got->{json}{statusCode}, 504, 'time is over: an answer, before Lambda ends it');
    is($got->{json}{headers}{'Cache-Control'}, 'no-store', '... that is not stored');
    ok($slow->idle, '... and the next event');
    $endpoint->answer();
}


# nginx dies
{
    my $dying = Token::Lambda->new($task, env => \%ENVIRONMENT);
    my $event = Token::Lambda::rest(GET => '/token', {});
    my $worker = qr/worker process/;
    my $master = qr{^/var/task/libs/ld\.so(?!.*worker process)}s;
    my $kill = sub {
        my ($title) = @_;
        my %old = map { $_ => 1 } $dying->pids($title);

        is(kill(KILL => keys %old), 1, 'one is killed');
        wait_for { !grep { $old{$_} } $dying->pids($title) };
    };

    is($dying->invoke($event)->{json}{statusCode}, 200, 'before nginx dies');
    $dying->idle;

    $kill->($worker);
    wait_for { $dying->pids($worker) };
    is($dying->invoke($event)->{json}{statusCode}, 200, 'its worker has died');
    $dying->idle;

    $kill->($master);
    is($dying->invoke($event)->{json}{statusCode}, 200, 'nginx has died');
    like($dying->log, qr/nginx has died \(signal 9\): it is started once more/,
        '... and has been started once more');
    $dying->idle;
    is(scalar($dying->pids), 4, '... and nothing of the old one is left');

    $kill->($master);
    my $got = $dying->invoke($event);
    is($got->{kind}, 'error', 'nginx has died again');
    is($got->{json}{errorMessage}, 'nginx has died again (signal 9)', '... says why');
    ok(defined(wait_for { defined $dying->ended }), '... and the instance ends');
    is($dying->ended, 1, '... as a failure');
    like($dying->log, qr/^token: nginx has died again \(signal 9\): this instance ends$/m,
        '... with a clear line');
}


# what does not start
for my $case (
    ['no endpoint', { TOKEN_ENDPOINT => '' },
        qr/^nginx\.conf needs TOKEN_ENDPOINT, which is not in the environment$/],
    ['an endpoint that is more than a URL', { TOKEN_ENDPOINT => 'http://a; deny all' },
        qr/^TOKEN_ENDPOINT has a character that cannot stand in nginx\.conf$/],
    ['an endpoint that is no URL', { TOKEN_ENDPOINT => 'localhost' },
        qr/^nginx does not start: exit status 1$/],
    ['no secret', { CONSUMER_SECRET => '' }, qr/^nginx does not start: exit status 1$/])
{
    my $broken = Token::Lambda->new($task, env => { %ENVIRONMENT, %{ $case->[1] } });
    my $got = $broken->init_error // {};

    is($got->{path}, '/2018-06-01/runtime/init/error', "$case->[0]: an error at the start");
    like($got->{json}{errorMessage}, $case->[2], '... says why');
}


# key and secret are kept by AWS
SKIP: {
    skip('no curl', 21) if !-x '/usr/bin/curl';

    for my $case (
        ['Secrets Manager', 'prod/token', 'SECRETS_MANAGER', 'secretsmanager',
            'secretsmanager.GetSecretValue', '{"SecretId":"prod/token"}',
            { SecretString => '{"CONSUMER_KEY":"kept-key","CONSUMER_SECRET":"kept-secret"}' },
            'kept-key:kept-secret'],
        ['Parameter Store', 'ssm:/prod/secret', 'SSM', 'ssm', 'AmazonSSM.GetParameter',
            '{"Name":"/prod/secret","WithDecryption":true}',
            { Parameter => { Value => 'kept-alone' } }, 'my-key:kept-alone'])
    {
        my ($what, $id, $name, $service, $target, $body, $answer, $basic) = @$case;
        my $aws = Token::Endpoint->new(body => JSON::PP::encode_json($answer), delay => 1);
        my $kept = Token::Lambda->new($task, bind => ['/usr'], env => { %ENVIRONMENT,
            CONSUMER_SECRET => '', TOKEN_SECRET_ID => $id,
            AWS_ACCESS_KEY_ID => 'AKIDEXAMPLE', AWS_SECRET_ACCESS_KEY => 'aws-"secret',
            AWS_SESSION_TOKEN => 'aws-session',
            "AWS_ENDPOINT_URL_$name" => 'http://127.0.0.1:' . $aws->port });

        ok((wait_for { $aws->calls }), "$what: it is asked");

        my @lists = map { slurp_or_empty("/proc/$_/cmdline") }
            $kept->pids('curl');
        is(scalar(@lists), 1, '... by curl');
        unlike("@lists", qr/aws-|AKID/, '... without a secret in a list of arguments');

        $endpoint->reset;
        my $got = $kept->invoke(Token::Lambda::rest(GET => '/token', {})) // {};
        is($got->{json}{statusCode}, 200, '... and the token is fetched');
        is_deeply([map { /^Authorization: Basic (\S+)/m ? decode_base64($1) : '' }
            $endpoint->requests], [$basic], '... with what it has said');

        my ($request) = $aws->requests;
        like($request, qr{^Authorization: AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/\d+/eu-west-1/$service/aws4_request,}m,
            '... by a signed request');
        like($request, qr/^X-Amz-Security-Token: aws-session\r$/m, '... of the role\'s session');
        like($request, qr/^X-Amz-Target: \Q$target\E\r$/m, '... for the right thing');
        like($request, qr/\r\n\r\n\Q$body\E$/, '... with its name');
        unlike($kept->log, qr/kept-|aws-/, '... and nothing of it is in the log');
    }

    my $aws = Token::Endpoint->new(status => 400,
        body => '{"__type":"AccessDeniedException","Message":"for my-secret"}');
    my $refused = Token::Lambda->new($task, bind => ['/usr'], env => { %ENVIRONMENT,
        TOKEN_SECRET_ID => 'x', AWS_ACCESS_KEY_ID => 'a', AWS_SECRET_ACCESS_KEY => 'b',
        AWS_ENDPOINT_URL_SECRETS_MANAGER => 'http://127.0.0.1:' . $aws->port });

    is($refused->init_error->{json}{errorMessage}, 'TOKEN_SECRET_ID cannot be '
        . 'fetched: AWS has answered AccessDeniedException', 'AWS refuses: it says so');
}

unlike($lambda->log, qr/my-secret|AT-\d/, 'no secret and no token in the log');
