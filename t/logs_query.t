# The query of an endpoint's URL may hold a secret (?code=...): no error that
# is logged shows it, whoever logs it. t/faults.t has more of them.

use strict;
use warnings;
use lib 't/lib';

use Test::More tests => 186;
use Time::HiRes qw(sleep);
use Token::Cache;
use Token::Endpoint;
use Token::Server;
use Token::Util qw(free_port slurp);

my $QUERY = 'code=my-code&x=y';

my $endpoint = Token::Endpoint->new;
my $api = Token::Endpoint->new;
my $url = $endpoint->url . "?$QUERY";
my $nothing = 'http://127.0.0.1:' . free_port() . "/token?$QUERY";

# without a cache, and with one
sub both {
    my ($name, @more) = @_;

    return location("plain-$name", @more, 'token_proxy_cache off')
        . location("cached-$name", @more);
}

my $nginx = Token::Server->new(
    log_level => 'error',
    http => zone() . <<"END",
    token_proxy_retry_backoff  1ms 1ms;
    upstream two {
        server 127.0.0.1:@{[ free_port() ]} max_fails=0;
        server 127.0.0.1:@{[ $endpoint->port ]} max_fails=0;
    }
END
    server => join('',
        both('url', $url),
        both('variable', "$url\$arg_x"),
        both('nothing', $nothing),
        both('two', "http://two/token?$QUERY"),
        both('slow', $url, 'proxy_read_timeout 200ms'),
        both('named', "http://no-endpoint.invalid:\$server_port/?$QUERY"),
        "location /api/ { token_proxy_bearer /cached-url;"
            . " proxy_pass http://127.0.0.1:@{[ $api->port ]}/; }\n"),
)->start;


for my $kind (qw(plain cached)) {
    for my $location (qw(url variable two)) {
        my $path = "/$kind-$location";

        logs("$path: refused", $path, { status => 401 }, 502,
            qr/token endpoint "http:[^"?]+" answered 401/);
        like(($endpoint->requests)[-1], qr{^POST /token\?\Q$QUERY\E },
            '... the endpoint gets the query');
        logs("$path: refused, with the query", $path,
            { status => 401, body => '{"error":"x","error_description":"no /token?code=my-code"}' },
            502, qr/answered 401, error: x, description: \(not shown\)/);
        logs("$path: not found, with the query", $path,
            { status => 404, body => '<p>/token?code=my-code&amp;x=y</p>' },
            502, qr/answered 404, text: \(not shown\)/);
        logs("$path: redirected with the query", $path,
            { status => 302, body => '', headers => [Location => 'https://id/my-code'] },
            502, qr/answered 302, Location: \(not shown\)/);
        logs("$path: no JSON", $path, { body => 'x' }, 502,
            qr/answer of token endpoint "http:[^"?]+" is not/);
        logs("$path: closed", $path, { close => 1 }, 502,
            qr{prematurely closed .*upstream: "http:[^"?]+"});
        logs("$path: truncated", $path, { truncate => 1 }, 502,
            qr{prematurely closed .*upstream: "http:[^"?]+"});
        logs("$path: too large", $path, { body => 'x' x 100_000 }, 502,
            qr{too big .*upstream: "http:[^"?]+"});
    }

    logs("$kind: refused connection", "/$kind-nothing", {}, 502,
        qr{connect\(\) failed .*upstream: "http:[^"?]+"});
    logs("$kind: timeout", "/$kind-slow", { delay => 1 }, 504,
        qr{timed out .*upstream: "http:[^"?]+"});
    logs("$kind: no name", "/$kind-named", {}, 502, qr/no resolver defined/);
}

logs('a token that cannot stand in a header', '/api/x',
    { body => '{"access_token":"a\u000ab"}' }, 502,
    qr/token of "http:[^"?]+" cannot stand in a header/);

$nginx->stop;
unlike(slurp($nginx->dir . '/logs/access.log'), qr/my-code/,
    'the access log has no query either');


# what is wrong in a configuration, or worth a warning
for my $case (
    [qr/has no host name/, "https://127.0.0.1/?$QUERY"],
    [qr/no "http:\/\/" or "https:\/\/" in "token_proxy_endpoint" "ftp:[^"?]+"/,
        "ftp://127.0.0.1/?$QUERY"],
    [qr/a fragment is not allowed/, "http://127.0.0.1/?$QUERY#x"],
    [qr/invalid port in "token_proxy_endpoint" "http:[^"?]+"/,
        "http://127.0.0.1:x/?$QUERY"],
    [qr/no host in "token_proxy_endpoint" "http:[^"?]+"/, "http://?$QUERY"],
    [qr/travels in clear to "token_proxy_endpoint" "http:[^"?]+"/,
        "http://192.0.2.1/?$QUERY"],
    [qr/is not verified/, "https://192.0.2.1/?$QUERY",
        'token_proxy_ssl_verify off'])
{
    my ($line, @endpoint) = @$case;

    $nginx->configure(server => location('token', @endpoint));

    my (undef, $output) = $nginx->test;

    like($output, $line, "nginx -t: $endpoint[0]");
    unlike($output, qr/my-code/, '... without the query');
}


# The answer, and what is logged of it.
sub logs {
    my ($name, $path, $answer, $status, $line) = @_;
    my $log = length $nginx->error_log;

    $endpoint->answer(%$answer);
    is($nginx->get($path)->{status}, $status, "$name: $status");
    sleep 0.01;

    my $said = substr $nginx->error_log, $log;

    like($said, $line, '... is logged');
    unlike($said, qr/my-code/, '... without the query');
}
