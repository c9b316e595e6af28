# Endpoints of the real world: what each must be asked, what it answers, what
# the caller gets, and what the log says of it. One line an endpoint.

use strict;
use warnings;
use lib 't/lib';

use JSON::PP qw(decode_json encode_json);
use MIME::Base64 qw(encode_base64 encode_base64url);
use POSIX qw(strftime);
use Time::Local qw(timegm);
use Test::More tests => 785;
use Token::Cache;
use Token::Cert;
use Token::Endpoint;
use Token::Server;
use Token::Util qw(spew work_dir);

my $SECRET = 'my-secret+"%&<longer>';
my $BASIC = encode_base64("my-key:$SECRET", '');
my $HTML = "<!DOCTYPE html>\n<html><head><title>Access denied</title>\n"
    . "<style>body { color: red }</style><script>\nif (a < b) { block() }</script></head>\n"
    . "<body><!-- id 7 --><h1>You are\tblocked</h1><p>Ray ID: 42</p></body></html>\n";

my $key = work_dir() . '/key.pem';
my $now = time;
my $endpoint = Token::Endpoint->new;

Token::Cert::openssl(qw(genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out), $key);
chmod 0600, $key;

# What the caller gets, by a word.
my %GETS = (
    token   => [200, qr/"access_token":"[^"]+"/],
    refused => [502, qr/The token endpoint refused the request\./],
    invalid => [502, qr/The token endpoint gave an invalid answer\./],
    failed  => [502, qr/The token endpoint failed\./],
    busy    => [503, qr/The token endpoint is busy/],
);

# name, answer of the endpoint, what the caller gets, and as there is one:
#
# log       what the line says after "answered STATUS" or "answer of ..."
# lifetime  that is told and kept; 0 if it is not kept (3600)
# lines     of the location
# asks      what the request is, and with "not" what it is not
my @ENDPOINTS = (
    # a token with any 2xx
    ['200', {}, 'token'],
    ['201', { status => 201 }, 'token'],
    ['202', { status => 202 }, 'token'],
    ['203', { status => 203 }, 'token'],
    ['206', { status => 206 }, 'token'],
    ['201 without a token', { status => 201, body => '{}' }, 'invalid',
        log => qr/^ has no access_token that is a string$/],
    ['300 with a token', { status => 300 }, 'invalid', log => qr/^ 300$/],

    # large headers
    ['5 KB of headers', { headers => [large(5)] }, 'token'],
    ['60 KB of headers', { headers => [large(60)] }, 'token'],

    # a refusal in a 200
    ['200 with an error', { body => '{"error":"invalid_client","error_description":"No such client"}' },
        'refused', log => qr/^ 200, error: invalid_client, description: No such client$/],
    ['200 with an errorCode', { body => '{"errorCode":"E0000011","errorSummary":"Invalid token provided"}' },
        'refused', log => qr/^ 200, error: E0000011, description: Invalid token provided$/],
    ['200 with an errcode', { body => '{"errcode":40013,"errmsg":"invalid appid"}' },
        'refused', log => qr/^ 200, error: 40013, description: invalid appid$/],
    ['200 with an error object', { body => '{"error":{"code":401,"message":"bad key"}}' },
        'refused', log => qr/^ 200, error: 401, description: bad key$/],
    ['200 with a message', { body => '{"message":"try another way"}' },
        'invalid', log => qr/^ has no access_token that is a string, description: try another way$/],
    ['200 with an empty error', { members => { error => '' } }, 'token'],
    ['200 with an error that is null', { members => { error => undef } }, 'token'],
    ['200 with errcode 0', { members => { errcode => 0, errmsg => 'ok' } }, 'token'],
    ['200 with a token of another name', { body => '{"accessToken":"AT-77"}' }, 'invalid',
        log => qr/^ has no access_token that is a string$/],
    ['200 with a form', { body => 'access_token=AT-77&scope=' }, 'invalid',
        log => qr{^ is not a JSON object, Content-Type: application/json$}],

    # the forms of errors
    ['401 of RFC 6749', { status => 401, body => '{"error":"invalid_client"}' }, 'refused',
        log => qr/^ 401, error: invalid_client$/],
    ['401 of Okta', { status => 401, body => '{"errorCode":"invalid_client","errorSummary":"Invalid value for \'client_id\' parameter.","errorLink":"invalid_client"}' },
        'refused', log => qr/^ 401, error: invalid_client, description: Invalid value for 'client_id' parameter\.$/],
    ['403 with an error object', { status => 403, body => '{"error":{"code":403,"message":"API disabled","status":"PERMISSION_DENIED"}}' },
        'refused', log => qr/^ 403, error: 403, description: API disabled$/],
    ['401 of a gateway', { status => 401, body => '{"fault":{"faultstring":"Invalid ApiKey","detail":{"errorcode":"oauth"}}}' },
        'refused', log => qr/^ 401, description: Invalid ApiKey$/],
    ['400 with a list of errors', { status => 400, body => '{"errors":[{"code":"E1","message":"bad scope"}]}' },
        'refused', log => qr/^ 400, error: E1, description: bad scope$/],
    ['403 as problem+json', { status => 403, headers => ['X-Type' => 'application/problem+json'],
            body => '{"type":"https://e.example/quota","title":"Quota exceeded","status":403,"detail":"100 tokens a day"}' },
        'refused', log => qr/^ 403, error: Quota exceeded, description: 100 tokens a day$/],
    ['401 with a message', { status => 401, body => '{"message":"Unauthorized"}' }, 'refused',
        log => qr/^ 401, description: Unauthorized$/],
    ['429 with a name', { status => 429, body => '{"name":"RATE_LIMIT_REACHED","message":"Too many requests"}' },
        'busy', log => qr/^ 429, error: RATE_LIMIT_REACHED, description: Too many requests$/],
    ['400 with a reason', { status => 400, body => '{"reason":"Bad client","error":"invalid_client"}' },
        'refused', log => qr/^ 400, error: invalid_client, description: Bad client$/],
    ['400 with a code', { status => 400, body => '{"code":20404,"message":"Not found","more_info":"x"}' },
        'refused', log => qr/^ 400, error: 20404, description: Not found$/],
    ['401 in plain text', { status => 401, body => "Unknown\tclient.\r\nBye." }, 'refused',
        log => qr/^ 401, text: Unknown client\. Bye\.$/],
    ['403 as a page', { status => 403, body => $HTML }, 'refused',
        log => qr/^ 403, text: Access denied You are blocked Ray ID: 42$/],
    ['403 with a long page', { status => 403, body => '<p>' . 'long ' x 100 }, 'refused',
        log => qr/^ 403, text: (?:long ){39}long$/],
    ['403 with a page that is cut', { status => 403, body => '<p>Denied<script>a' }, 'refused',
        log => qr/^ 403, text: Denied$/],
    ['403 with bytes', { status => 403, body => "a\x00\xff\x1bb" }, 'refused',
        log => qr/^ 403, text: a\?\?\?b$/],
    ['401 with nothing', { status => 401, body => '' }, 'refused', log => qr/^ 401$/],
    ['401 with an unknown object', { status => 401, body => '{"mfa_token":"AT-77"}' }, 'refused',
        log => qr/^ 401$/],
    ['500 as a page', { status => 500, body => $HTML }, 'failed',
        log => qr/^ 500, text: Access denied /],
    ['503 in plain text', { status => 503, body => 'Maintenance' }, 'busy',
        log => qr/^ 503, text: Maintenance$/],

    ['400 with two errors', { status => 400, body => '{"errors":[{"code":1,"message":"first"},{"code":2}]}' },
        'refused', log => qr/^ 400, text: \{"errors":\[\{"code":1,"message":"first"\},\{"code":2\}\]\}$/],
    ['401 with other letters', { status => 401, body => '{"Message":"Authorization has been denied"}' },
        'refused', log => qr/^ 401, text: \{"Message":"Authorization has been denied"\}$/],
    ['401 with a challenge', { status => 401, body => '', headers => ['WWW-Authenticate' => 'Basic error="invalid_client"'] },
        'refused', log => qr/^ 401, WWW-Authenticate: Basic error="invalid_client"$/],
    ['200 with a page', { raw => "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\n\r\n$HTML" },
        'invalid', log => qr{^ is not a JSON object, Content-Type: text/html; charset=utf-8, text: Access denied You are blocked Ray ID: 42$}],
    ['200 that is busy', { body => '{"error":"temporarily_unavailable"}' }, 'busy',
        log => qr/^ 200, error: temporarily_unavailable$/],
    ['200 with a token as its message', { body => '{"success":true,"message":"eyJhbGciOiJSUzI1NiJ9.e30.c2ln"}' },
        'invalid', log => qr/^ has no access_token that is a string$/],

    # what repeats the secret
    ['a text with the secret', { status => 401, body => "Wrong: $SECRET" }, 'refused',
        log => qr/^ 401, text: \(not shown\)$/],
    ['a text with the Basic value', { status => 401, body => "Wrong: $BASIC" }, 'refused',
        log => qr/^ 401, text: \(not shown\)$/],
    ['a page with the secret', { status => 401, body => '<p>my-secret+&quot;%%&amp;&lt;longer&gt;</p>' }, 'refused',
        log => qr/^ 401, text: \(not shown\)$/],
    ['a list with the secret', { status => 401, body => encode_json([$SECRET]) }, 'refused',
        log => qr/^ 401, text: \(not shown\)$/],
    ['a message with the secret', { status => 401, body => encode_json({ message => "no $SECRET" }) }, 'refused',
        log => qr/^ 401, description: \(not shown\)$/],
    ['an inner message with the secret', { status => 401, body => encode_json({ error => { message => $SECRET } }) },
        'refused', log => qr/^ 401, description: \(not shown\)$/],

    ['a message with the secret in HTML', { status => 401, body => encode_json({ message => 'no my-secret+&quot;%%&amp;&lt;longer&gt;' }) },
        'refused', log => qr/^ 401, description: \(not shown\)$/],
    ['a message with the secret in a URL', { status => 401, body => encode_json({ message => 'no my-secret%2b%22' }) },
        'refused', log => qr/^ 401, description: \(not shown\)$/],

    # where it sends us, and what we cannot read
    ['302', { status => 302, body => '', headers => [Location => 'https://login.example.com/start?state=secret'] },
        'invalid', log => qr{^ 302, Location: https://login\.example\.com/start$}],
    ['307 with a page', { status => 307, body => '<p>Moved</p>', headers => [Location => '/v2/token'] },
        'invalid', log => qr{^ 307, Location: /v2/token, text: Moved$}],
    ['a redirect to the secret', { status => 302, body => '', headers => [Location => "/$SECRET"] },
        'invalid', log => qr{^ 302, Location: \(not shown\)$}],
    ['a redirect with a fragment', { status => 302, body => '', headers => [Location => 'https://me:pw@example.com/cb#access_token=x'] },
        'invalid', log => qr{^ 302, Location: example\.com/cb$}],
    ['gzip with 200', { body => "\x1f\x8b\x08\x00", headers => ['Content-Encoding' => 'gzip'] }, 'invalid',
        log => qr/^ is not a JSON object, Content-Encoding: gzip$/],
    ['br with 401', { status => 401, body => "\x8b\x01\x80", headers => ['Content-Encoding' => 'br'] }, 'refused',
        log => qr/^ 401, Content-Encoding: br$/],
    ['identity', { headers => ['Content-Encoding' => 'identity'] }, 'token'],

    # lifetimes
    ['expires_in null', { members => { expires_in => undef } }, 'token', default(100)],
    ['expires_in empty', { expires_in => '' }, 'token', default(100)],
    ['expires_in with spaces', { expires_in => ' 3600 ' }, 'token', default(100)],
    ['expires_in with a unit', { expires_in => '3600s' }, 'token', default(100)],
    ['expires_in negative', { expires_in => -1 }, 'token', default(100)],
    ['expires_in absent', { expires_in => undef }, 'token', default(100)],
    ['expires_in absent, no default', { expires_in => undef }, 'token', lifetime => 0],
    ['expires_in zero', { expires_in => 0 }, 'token', lifetime => 0],
    ['a JWT', { expires_in => undef, members => { access_token => jwt({ iat => 1000, exp => 1600 }) } },
        'token', lifetime => 600],
    ['a JWT of fractions', { expires_in => undef, members => { access_token => jwt({ iat => 1000.5, exp => 1600.5 }) } },
        'token', lifetime => 600],
    ['a JWT without iat', { expires_in => undef, members => { access_token => jwt({ exp => $now + 1000 }) } },
        'token', lifetime => 1000],
    ['a JWT and expires_in', { members => { access_token => jwt({ iat => 1000, exp => 1600 }) } },
        'token', lifetime => 3600],
    ['a JWT and a default', { expires_in => 'x', members => { access_token => jwt({ iat => 1000, exp => 1600 }) } },
        'token', default(100), lifetime => 600],
    ['a JWT that has expired', { expires_in => undef, members => { access_token => jwt({ exp => $now - 10 }) } },
        'token', default(100), lifetime => 0],
    ['a JWT in milliseconds', { expires_in => undef, members => { access_token => jwt({ iat => $now * 1000, exp => $now * 1000 + 600_000 }) } },
        'token', default(100)],
    ['a JWT without exp', { expires_in => undef, members => { access_token => jwt({ iat => 1000 }) } },
        'token', default(100)],
    ['a JWT with words', { expires_in => undef, members => { access_token => jwt({ exp => 'soon' }) } },
        'token', default(100)],
    ['a JWE', { expires_in => undef, members => { access_token => jwt({ exp => $now + 9 }) . '.a.b' } },
        'token', default(100)],
    ['two dots', { expires_in => undef, members => { access_token => 'a.b.c' } }, 'token', default(100)],
    ['two dots alone', { expires_in => undef, members => { access_token => '..' } }, 'token', default(100)],
    ['expires_at', { expires_in => undef, members => { expires_at => $now + 1000 } },
        'token', default(100), lifetime => 1000],
    ['expires_on as a string', { expires_in => undef, members => { expires_on => '' . ($now + 1000) } },
        'token', default(100), lifetime => 1000],
    ['expires_at in milliseconds', { expires_in => undef, members => { expires_at => $now * 1000 } },
        'token', default(100)],
    ['expires_at as a date', { expires_in => undef, members => { expires_at => date($now + 1000, 'Z') } },
        'token', default(100), lifetime => 1000],
    ['a date with a fraction', { expires_in => undef, members => { expires_at => date($now + 1000, '.123456789Z') } },
        'token', default(100), lifetime => 1000],
    ['a date east of Greenwich', { expires_in => undef, members => { expires_at => date($now + 1000 + 5400, '+01:30') } },
        'token', default(100), lifetime => 1000],
    ['a date west of Greenwich', { expires_in => undef, members => { expires_on => date($now + 1000 - 3600, '-01:00') } },
        'token', default(100), lifetime => 1000],
    ['a date in a leap year', { expires_in => undef, members => { expires_at => '2028-02-29T12:00:00Z' } },
        'token', lifetime => timegm(0, 0, 12, 29, 1, 128) - $now],
    ['a date after it', { expires_in => undef, members => { expires_at => '2028-03-01T00:00:00Z' } },
        'token', lifetime => timegm(0, 0, 0, 1, 2, 128) - $now],
    ['a date that has gone', { expires_in => undef, members => { expires_at => '2020-01-01T00:00:00Z' } },
        'token', default(100), lifetime => 0],
    (map { ["no date: $_", { expires_in => undef, members => { expires_at => $_ } }, 'token', default(100)] }
        '2030-01-01T00:00:00', '2030-13-01T00:00:00Z', '2030-01-32T00:00:00Z', '2030-01-01T24:00:00Z',
        '2030-01-01 00:00:00Z', '2030-01-01T00:00:00+1:00', '2030-01-01T00:00:00+01:00Z', '20300101T000000Z'),
    ['expires_at that has gone', { expires_in => undef, members => { expires_at => $now - 1 } },
        'token', default(100), lifetime => 0],

    # headers
    ['a firewall that wants a User-Agent', {}, 'token', asks => qr{^User-Agent: ngx_http_token_module/\d+\.\d+\.\d+\r$}m],
    ['a User-Agent of the user\'s', {}, 'token', lines => ['proxy_set_header User-Agent mine/1'],
        asks => qr{^User-Agent: mine/1\r$}m, not => qr/ngx_http_token_module/],
    ['no User-Agent', {}, 'token', lines => ['proxy_set_header User-Agent ""'], not => qr/^User-Agent/mi],
    ['headers of outer levels', {}, 'token', asks => qr{^Host: 127\.0\.0\.1:\d+\r$}m,
        not => qr/^X-|unix:|192\.0\.2\.1|tenant\.example/mi],
    ['headers of the location', {}, 'token', lines => ['proxy_set_header X-Tenant 7'],
        asks => qr{^X-Tenant: 7\r$}m, not => qr/^X-(?:Real|Forwarded)/mi],

    # clocks
    ['an assertion, the clocks agree', refusal(5), 'refused', signed(), log => qr/^ 401, error: invalid_client$/],
    ['an assertion, its clock is behind', refusal(-300), 'refused', signed(),
        log => qr/^ 401, error: invalid_client, its clock is (?:29\d|3[0-5]\d) seconds behind this machine's$/],
    ['an assertion, its clock is ahead', refusal(3600), 'refused', signed(),
        log => qr/^ 401, error: invalid_client, its clock is (?:35[4-9]\d|360\d) seconds ahead of this machine's$/],
    ['no assertion, its clock is behind', refusal(-300), 'refused', log => qr/^ 401, error: invalid_client$/],
);

sub date { return strftime('%Y-%m-%dT%H:%M:%S', gmtime $_[0]) . $_[1] }

sub large { return map { ("X-Large-$_" => 'x' x 1000) } 1 .. $_[0] }

sub default { return (lines => ["token_proxy_cache_default_ttl $_[0]s"], lifetime => $_[0]) }

sub signed { return (lines => ['token_proxy_auth_method private_key_jwt', "token_proxy_private_key $key"]) }

sub jwt {
    my ($claims) = @_;

    return join '.', map { encode_base64url($_) } '{"alg":"RS256"}', encode_json($claims), 'signature';
}

sub refusal {
    my ($seconds) = @_;

    return { status => 401, body => '{"error":"invalid_client"}',
        headers => [Date => strftime('%a, %d %b %Y %T GMT', gmtime $now + $seconds)] };
}

my $n = 0;
my @cases = map {
    my ($name, $answer, $gets, %more) = @$_;
    { n => $n++, name => $name, answer => $answer, gets => $gets, lifetime => 3600,
        lines => [], %more };
} @ENDPOINTS;

my $http = zone() =~ s/my-secret/'literal:$SECRET'/r;

my $nginx = Token::Server->new(
    log_level => 'info',
    http => <<"END",
    $http
    proxy_set_header  X-Http  of-http;
END
    server => join '', <<'END',
    proxy_set_header  Host               tenant.example;
    proxy_set_header  X-Real-IP          $remote_addr;
    proxy_set_header  X-Forwarded-For    $proxy_add_x_forwarded_for;
    proxy_set_header  X-Forwarded-Proto  $scheme;
    location /cached/ {
        proxy_set_header  X-Outer  of-the-location;
END
        (map { location("cached/$_->{n}", $endpoint->url, "token_proxy_cache_key $_->{n}",
            @{ $_->{lines} }) } @cases), '}',
        (map { location("plain/$_->{n}", $endpoint->url, 'token_proxy_cache off', @{ $_->{lines} }) } @cases),
        'location /branch/ { proxy_set_header X-Outer 1; proxy_set_header X-Own 1; ',
        location('branch/a', $endpoint->url, 'token_proxy_cache off', 'proxy_set_header X-Own 1',
            'if ($arg_a) { set $b 1'), "}\n}\n",
)->start;

for my $case (@cases) {
    for my $kind ('plain', 'cached') {
        my $name = "$kind, $case->{name}";
        my $path = "/$kind/$case->{n}";
        my ($status, $body) = @{ $GETS{$case->{gets}} };

        $endpoint->reset;
        $endpoint->answer(%{ $case->{answer} });

        my $log = length $nginx->error_log;
        my $got = $nginx->get($path, 'X-Forwarded-For' => '192.0.2.1');

        is($got->{status}, $status, "$name: $status");
        like($got->{content}, $body, '... the body');

        my @lines = map { /token endpoint "[^"]+"(?: answered)?(.*?)(?: while requesting a token|, token location)/ ? $1 : () }
            split /\n/, substr $nginx->error_log, $log;

        if ($case->{log}) {
            @lines == 1 ? like($lines[0], $case->{log}, '... the log')
                : is("@lines", 'one line', '... the log');
        } else {
            is("@lines", '', '... nothing in the log');
        }

        my ($request) = $endpoint->requests;

        like($request, $case->{asks}, '... the request') if $case->{asks};
        unlike($request, $case->{not}, '... nothing else in the request') if $case->{not};

        lifetime($case, $kind, $got, $path) if $case->{gets} eq 'token';
    }
}

sub lifetime {
    my ($case, $kind, $got, $path) = @_;
    my ($first, $expected) = ($got->{headers}{'x-expires'}, $case->{lifetime});

    if ($kind eq 'plain') {
        # a default is the cache's
        return pass('... the lifetime of a default')
            if "@{ $case->{lines} }" =~ /default_ttl/ && $expected == 100;

        return cmp_ok(abs(($first // 0) - $expected), '<=', slack(), '... the lifetime');
    }

    my $again = $nginx->get($path);
    my $left = $again->{headers}{'x-expires'} // 0;

    ok(status($again) eq ($expected ? 'HIT' : 'MISS') && abs($left - $expected) <= slack(),
        '... the lifetime') or diag(status($again), " $left, not $expected");
}

# Some lifetimes end at a time that was chosen when the test began.
sub slack { return 3 + time - $now }

# a part of the location has its headers
{
    $endpoint->reset;
    $endpoint->answer;
    $nginx->get('/branch/a?a=1');

    my ($request) = $endpoint->requests;

    like($request, qr/^X-Own: 1\r$/m, 'an "if" block of the location has its headers');
    unlike($request, qr/^X-(?:Real|Forwarded|Http)/m, '... and no others');
}

# an endpoint that closes kept connections: at each second request, at once, by
# a reset; a page of a proxy is no such end
{
    my $port = $endpoint->port;
    my $kept = Token::Server->new(
        http => zone() . "upstream kept { server 127.0.0.1:$port; keepalive 4; }",
        server => join '', map { location($_, 'http://kept/token', 'token_proxy_cache off',
            "proxy_read_timeout 1s") } 'a', 'b',
    )->start;

    $endpoint->reset;
    is($kept->get('/a')->{status}, 200, 'a kept connection: the first call');

    for my $n (1 .. 3) {
        $endpoint->next({ close => 1 }, {});
        is($kept->get('/a')->{status}, 200, "... a connection that is closed, $n");
    }

    is($endpoint->calls, 7, '... each is asked once more');
    is($endpoint->connections, 4, '... on a new connection');

    $endpoint->next({ raw => 'HTTP/1.1 2' });
    is($kept->get('/a')->{status}, 502, '... but not after a byte of an answer');
    is($endpoint->calls, 8, '... which is not asked again');

    $endpoint->next({ close => 1 });
    is($kept->get('/a')->{status}, 502, 'a new connection that is closed is an error');
    is($endpoint->calls, 9, '... which is not asked again');

    is($kept->get('/a')->{status}, 200, 'the next call is made');
    $endpoint->next({ delay => 3 });
    is($kept->get('/a')->{status}, 504, 'a kept connection that stays silent is too slow');
    is($endpoint->calls, 11, '... and is not asked again');
    no_secrets($kept);
}

# the same with two addresses, as the manual has it
{
    my $port = $endpoint->port;
    my $kept = Token::Server->new(
        http => zone() . "upstream kept { server 127.0.0.1:$port max_fails=0; "
            . "server localhost:$port max_fails=0; keepalive 4; }",
        server => location('a', 'http://kept/token', 'token_proxy_cache off'),
    )->start;

    my @status = map {
        $endpoint->next({ close => 1 }, {}) if $_ > 3;
        $kept->get('/a')->{status};
    } 1 .. 12;

    is("@status", "@{[ (200) x 12 ]}", 'two addresses that close kept connections');
}
