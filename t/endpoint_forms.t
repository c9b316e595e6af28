# Token endpoints that are not as RFC 6749 has them: what they are sent, as
# a form, as JSON or as a query, and what is made of their answers.

use strict;
use warnings;
use lib 't/lib';

use Test::More;
use JSON::PP ();
use MIME::Base64 qw(encode_base64);
use Token::Cache qw(no_secrets);
use Token::Endpoint;
use Token::Server;
use Token::Util qw(free_port spew work_dir);

my $json = JSON::PP->new->canonical->utf8;
my $endpoint = Token::Endpoint->new;
my $api = Token::Endpoint->new;
my $url = $endpoint->url;
my $dir = work_dir();
my $ipv6 = free_port();

spew("$dir/bytes", "\xc3\xa4 \"\\\n\t\x01\x7f</b>");
chmod 0600, "$dir/bytes";


# what is sent: the line of the request, its type, and its body as it reads
my $BASIC = 'Basic ' . encode_base64('my-key:my-secret', '');
my $GRANT = { grant_type => 'client_credentials' };
my $ID = { client_id => 'my-key' };
my $POST = { %$ID, client_secret => 'my-secret' };
my $TEXT = "\x{e4} \"\\\n\t\x01\x7f</b>";
my @GET = ('GET', undef, undef, '');

my @SENT = (
    # location => directives, method, query, type, body, Authorization
    [form => [], 'POST', undef, 'form', $GRANT, $BASIC],
    [form_written => ['request form'], 'POST', undef, 'form', $GRANT, $BASIC],
    [json => ['request json'], 'POST', undef, 'json', $GRANT, $BASIC],
    [json_post => ['request json', 'auth_method client_secret_post'],
        'POST', undef, 'json', { %$GRANT, %$POST }],
    [json_params => ['request json', 'param scope "a b"', 'param x a&b=c%20'],
        'POST', undef, 'json', { %$GRANT, scope => 'a b', x => 'a&b=c%20' },
        $BASIC],
    [json_bytes => ['request json', "param x file:$dir/bytes",
        "param \xc3\xa4\\\" 1"], 'POST', undef, 'json',
        { %$GRANT, x => $TEXT, "\x{e4}\"" => '1' }, $BASIC],
    [json_variable => ['request json', 'param x $arg_x', 'param y $arg_y'],
        'POST', undef, 'json', { %$GRANT, x => '%22' }, $BASIC, '?x=%22'],
    [json_list => ['request json', 'param "scope[]" "a \"b"', 'param x y', 'param "scope[]" c%20',
        'param "one[]" d', 'param "none[]" $arg_x', 'param [] e', q(param '""""[]' wxyz)],
        'POST', undef, 'json', { %$GRANT, scope => ['a "b', 'c%20'], x => 'y', one => ['d'],
            '[]' => 'e', '""""' => ['wxyz'] }, $BASIC],
    [json_off => ['request json', 'grant_type off', 'auth_method none',
        'param app_id 1', 'param app_secret s'], 'POST', undef, 'json',
        { app_id => '1', app_secret => 's' }],
    [json_nothing => ['request json', 'grant_type off', 'auth_method none'],
        'POST', undef, 'json', {}],
    [json_url => ['request json', "endpoint $url?a=b&c=%20"],
        'POST', 'a=b&c=%20', 'json', $GRANT, $BASIC],

    [query => ['request query'], 'GET', 'grant_type=client_credentials',
        undef, undef, $BASIC],
    [query_params => ['request query', 'param scope "a b&c"', 'param y $arg_y'],
        'GET', 'grant_type=client_credentials&scope=a+b%26c&y=2', undef, undef,
        $BASIC, '?y=2'],
    [query_post => ['request query', 'auth_method client_secret_post'],
        'GET', 'grant_type=client_credentials&client_id=my-key'
        . '&client_secret=my-secret'],
    [query_url => ['request query', "endpoint $url?a=b"],
        'GET', 'a=b&grant_type=client_credentials', undef, undef, $BASIC],
    [query_mark => ['request query', "endpoint $url?"],
        'GET', 'grant_type=client_credentials', undef, undef, $BASIC],
    [query_and => ['request query', "endpoint $url?a&"],
        'GET', 'a&grant_type=client_credentials', undef, undef, $BASIC],
    [query_root => ['request query', 'endpoint http://127.0.0.1:'
        . $endpoint->port . '?a=b'],
        'GET', 'a=b&grant_type=client_credentials', undef, undef, $BASIC],
    [query_host => ['request query', 'endpoint http://127.0.0.1:'
        . $endpoint->port], 'GET', 'grant_type=client_credentials', undef,
        undef, $BASIC],
    [query_variable => ['request query', "endpoint $url\$arg_t?a=b"],
        'GET', 'a=b&grant_type=client_credentials', undef, undef, $BASIC,
        '?t=x'],
    [query_socket => ['request query', "endpoint http://unix:$dir/socket"],
        'GET', 'grant_type=client_credentials', undef, undef, $BASIC],
    [query_socket_uri => ['request query', "endpoint http://unix:$dir/socket:/token"],
        'GET', 'grant_type=client_credentials', undef, undef, $BASIC],
    [query_socket_query => ['request query', "endpoint http://unix:$dir/socket:/token?a=b"],
        'GET', 'a=b&grant_type=client_credentials', undef, undef, $BASIC],
    [form_socket_query => ["endpoint http://unix:$dir/socket:?a=b"],
        'POST', 'a=b', 'form', $GRANT, $BASIC],
    [form_ipv6 => ["endpoint http://[::1]:$ipv6?a=b"], 'POST', 'a=b', 'form', $GRANT, $BASIC],
    [query_ipv6 => ['request query', "endpoint http://[::1]:$ipv6"],
        'GET', 'grant_type=client_credentials', undef, undef, $BASIC],
    [query_ipv6_query => ['request query', "endpoint http://[::1]:$ipv6?a=b"],
        'GET', 'a=b&grant_type=client_credentials', undef, undef, $BASIC],
    [query_ipv6_variable => ['request query', "endpoint http://[::1]:$ipv6\$arg_t", 'param password the-password'],
        'GET', 'grant_type=client_credentials&password=the-password', undef, undef, $BASIC],
    [query_two => ['request query', 'endpoint http://two/token'],
        'GET', 'grant_type=client_credentials', undef, undef, $BASIC],
    [query_set_body => ['request query', '!proxy_set_body x', '!proxy_method PUT',
        '!proxy_set_header Content-Type a/b'],
        'GET', 'grant_type=client_credentials', undef, undef, $BASIC],

    [off => ['grant_type off', 'param a b'], 'POST', undef, 'form',
        { a => 'b' }, $BASIC],
    [off_nothing => ['grant_type off'], 'POST', undef, 'form', {}, $BASIC],

    # metadata services, which ask for no client
    [metadata => ['request query', 'grant_type off', 'auth_method none',
        '!proxy_set_header Metadata-Flavor Google'], 'GET', undef],
    [azure => ["endpoint $url?api-version=2018-02-01&resource=https%3A%2F%2Fa",
        'request query', 'grant_type off', 'auth_method none',
        '!proxy_set_header Metadata true'], 'GET',
        'api-version=2018-02-01&resource=https%3A%2F%2Fa'],
    [azure_params => ["endpoint $url?api-version=2018-02-01",
        'request query', 'grant_type off', 'auth_method none',
        'param resource https://a', '!proxy_set_header Metadata true'], 'GET',
        'api-version=2018-02-01&resource=https%3A%2F%2Fa'],

    # parameters that are the module's where it does not send them
    [id_beside => ['param client_id other'], 'POST', undef, 'form',
        { %$GRANT, client_id => 'other' }, $BASIC],
    [assertion_beside => ['param client_assertion a', 'param '
        . 'client_assertion_type b'], 'POST', undef, 'form',
        { %$GRANT, client_assertion => 'a', client_assertion_type => 'b' },
        $BASIC],
    [id_none => ['auth_method none', 'param client_id other'], 'POST', undef,
        'form', { %$GRANT, client_id => 'other' }],
    [secret_none => ['auth_method none', 'param client_key k', 'param '
        . 'client_secret s'], 'POST', undef, 'form',
        { %$GRANT, client_key => 'k', client_secret => 's' }],
);

my @FIELDS = qw(access_token expires_in);

# answers: the members that are mapped, the answer, what the caller gets
my @ANSWERS = (
    ['a member inside of another', ['access_token data.accessToken',
        'expires_in data.expireIn'],
        '{"data":{"accessToken":"AT","expireIn":7200},"code":"200"}',
        '{"access_token":"AT","expires_in":7200}'],
    ['beside it, and deeper', ['access_token tenant_access_token',
        'expires_in a.b.c.d'],
        '{"tenant_access_token":"AT","a":{"b":{"x":1,"c":{"d":60}}}}',
        '{"access_token":"AT","expires_in":60}'],
    ['names and values with escapes', ['access_token d.t'],
        '{"\u0064":{"\u0074":"A\/T\u00e4"}}', '{"access_token":"A\/T\u00e4"}'],
    ['a name that is not ASCII', ["access_token d.\xc3\xa4"],
        "{\"d\":{\"\\u00e4\":\"AT\"}}", '{"access_token":"AT"}'],
    ['the standard name has no meaning then', ['access_token data.token'],
        '{"access_token":"no","data":{"token":"AT"}}', '{"access_token":"AT"}'],
    ['a name that stands for itself', ['access_token access_token.value'],
        '{"access_token":{"value":"AT"}}', '{"access_token":"AT"}'],
    ['the same member twice', ['access_token t', 'refresh_token t'],
        '{"t":"AT"}', '{"access_token":"AT"}'],
    ['of two members the last counts', ['access_token d.t'],
        '{"d":{"t":"1","t":"2"},"d":{"t":"3","t":"AT"}}',
        '{"access_token":"AT"}'],
    ['... also where it has none', ['access_token d.t'],
        '{"d":{"t":"AT"},"d":1}', undef],
    ['no such member', ['access_token d.t'], '{"access_token":"AT"}', undef],
    ['no object', ['access_token d.t'], '{"d":["t","AT"]}', undef],
    ['an object in an array', ['access_token d.t'], '{"d":[{"t":"AT"}]}',
        undef],
    ['no string', ['access_token d'], '{"d":{"t":"AT"}}', undef],
    ['the whole of an object', ['access_token d.t', 'expires_in d'],
        '{"d":{"t":"AT"}}', '{"access_token":"AT","expires_in":{"t":"AT"}}'],
    ['many levels', ['access_token a' . '.a' x 15],
        '{"a":' x 16 . '"AT"' . '}' x 16, '{"access_token":"AT"}'],
    ['too many levels of something else', ['access_token t'],
        '{"t":"AT","x":' . '[' x 2000 . ']' x 2000 . '}', undef],
    ['many members inside', ['access_token d.t'],
        '{"d":{' . join('', map { "\"m$_\":[{},\"t\"]," } 1 .. 2000)
        . '"t":"AT"}}', '{"access_token":"AT"}'],
);

# values of a mapped error that say that there is none
my @SUCCESS = (0, '"0"', '"000000"', 200, '"200"', '""', 'null', 'false',
    '[]', '[ ]', '{}', '"ok"', '"OK"', '"success"', '"Success"');
my @FAILURE = (1, -1, 40013, '"1"', '"A0400"', '"invalid_client"', 'true',
    '[1]', '{"code":1}', 201, 2000, '"00001"', 0.5);


plan(tests => 6 * @SENT + 3 * @ANSWERS + @SUCCESS + 3 * @FAILURE + 77);


my $nginx = Token::Server->new(
    workers => 1,
    http => <<"END",
    token_proxy_cache_zone     zone=tokens:1m;
    token_proxy_retry_backoff  1ms 1ms;
    upstream two { server 127.0.0.1:@{[ $endpoint->port ]}; }
    server {
        listen      unix:$dir/socket;
        error_log   logs/socket.log info;
        access_log  off;
        location    / { proxy_pass http://127.0.0.1:@{[ $endpoint->port ]}; }
    }
    server {
        listen      [::1]:$ipv6;
        error_log   logs/ipv6.log info;
        access_log  off;
        location    / { proxy_pass http://127.0.0.1:@{[ $endpoint->port ]}; }
    }
    map \$arg_x \$user {
        default  me:the-password\@127.0.0.1:1;
        slash    me:the-password/1\@127.0.0.1:1;
        alone    the-password\@127.0.0.1:1;
        socket   unix:$dir/socket?code=my-code;
    }
END
    server => join('',
        (map { place("sent/$_->[0]", @{ $_->[1] }) } @SENT),
        (map { place("answer/$_", 'fields access_token expires_in',
            map { "member $_" } @{ $ANSWERS[$_][1] }) } 0 .. $#ANSWERS),
        place('error', 'member error code', 'member error_description msg'),
        place('error_plain'),
        (map { place("refresh/$_", 'refresh_grant on', 'member error code',
            "request $_", 'param scope all', 'param client_id other') }
            qw(form json query)),
        place('refresh/post', 'refresh_grant on', 'request query',
            'auth_method client_secret_post'),
        (map { place("cached/$_->[0]", 'cache tokens', @{ $_->[1] }) } cached()),
        'location /api/ { token_proxy_bearer /cached/a; proxy_pass ' . $api->url('/')
            . "; }\n",
        place('utf8', 'request json', 'param x $bytes'),
        place('malformed', 'request query', 'param password the-password',
            'endpoint http://127.0.0.1:$arg_port/?code=my-code'),
        place('malformed_form', 'param password the-password',
            'endpoint http://127.0.0.1:$arg_port/?code=my-code'),
        place('nothing', 'request query', 'param password the-password',
            'auth_method client_secret_post', 'endpoint http://127.0.0.1:'
            . free_port() . '/?code=my-code'),
        place('nobody', 'request query', 'param password the-password',
            'auth_method client_secret_post', "endpoint http://unix:$dir/nobody"),
        place('user', 'endpoint http://$user/token'),
        place('user_cached', 'endpoint http://$user/token', 'cache tokens'),
        "location = /status { token_proxy_status; }\n",
        place('log', 'request query', 'param password the-password',
            'auth_method client_secret_post'),
        "set \$bytes \"\xff\";\n"),
)->start;


# what is sent
for my $case (@SENT) {
    my ($name, undef, $method, $query, $type, $body, $basic, $more) = @$case;

    $endpoint->reset;
    is($nginx->get("/sent/$name" . ($more // ''))->{status}, 200, $name);

    my $sent = sent();

    is("$sent->{method} " . ($sent->{query} // '-'),
        "$method " . ($query // '-'), '... its method and its query');
    is($sent->{headers}{'content-type'}, !$type ? undef : $type eq 'json'
        ? 'application/json' : 'application/x-www-form-urlencoded',
        '... the type of its body');

    my $read = !$type ? $sent->{body} : $type eq 'json'
        ? eval { $json->decode($sent->{body}) } : form($sent->{body});

    is_deeply($read, $type ? $body : '', '... its body')
        or diag($sent->{body});
    is($sent->{headers}{'content-length'}, $type ? length $sent->{body} : undef,
        '... its length');
    is($sent->{headers}{authorization}, $basic, '... its Authorization');
}

{
    $endpoint->reset;
    $nginx->get('/sent/metadata');
    like(($endpoint->requests)[0], qr{^GET /token HTTP/1\.1\r\n}m,
        'a metadata service: the URL as it is');
    like(($endpoint->requests)[0], qr/^Metadata-Flavor: Google\r$/m,
        '... and the header that it wants');

    $endpoint->reset;
    $nginx->get('/sent/json_bytes');
    like(($endpoint->requests)[0], qr/\r\n\r\n\{.*"x":"\xc3\xa4 \\"\\\\\\n\\t\\u0001\x7f<\/b>"/s,
        'JSON: what has to be escaped is');

    $endpoint->reset;
    $nginx->get('/sent/query_host');
    like(($endpoint->requests)[0], qr{^GET /\?grant_type}, 'a URL without a path');

    $endpoint->reset;
    $nginx->get('/sent/query_socket');
    like(($endpoint->requests)[0], qr{^GET /\?grant_type}, '... and a socket without one');
}


# answers
for my $n (0 .. $#ANSWERS) {
    my ($name, undef, $answer, $gets) = @{ $ANSWERS[$n] };

    $endpoint->answer(body => $answer);

    my $response = $nginx->get("/answer/$n");

    is($response->{status}, $gets ? 200 : 502, "answer: $name");
    $gets ? is($response->{content}, $gets, '... what the caller gets')
        : like($response->{content}, qr/"server_error"/, '... an error');
    is(scalar($nginx->workers), 1, '... the worker lives');
}

for my $value (@SUCCESS) {
    $endpoint->answer(body => "{\"code\":$value,\"access_token\":\"AT\"}");
    is($nginx->get('/error')->{status}, 200, "no error: $value");
}

for my $value (@FAILURE) {
    my $log = length $nginx->error_log;

    $endpoint->answer(body => "{\"code\":$value,\"msg\":\"it said why\","
        . '"access_token":"AT"}');
    is($nginx->get('/error')->{status}, 502, "an error: $value");

    my $said = substr $nginx->error_log, $log;

    like($said, qr/token endpoint "[^"]+" answered 200.*it said why/,
        '... is logged with what it says');
    $value =~ /^"?([-\w.]+)"?$/ && $value ne 'true'
        ? like($said, qr/answered 200.*\Q$1\E/, '... and its code')
        : unlike($said, qr/\[alert\]/, '... without an alert');
}

# the names that are mapped are those of an error's status as well
{
    my $log = length $nginx->error_log;

    $endpoint->answer(status => 400, body => '{"code":99991663,"msg":"invalid app"}');
    is($nginx->get('/error')->{status}, 502, 'an error with a status: 502');
    like(substr($nginx->error_log, $log), qr/answered 400.*99991663.*invalid app/,
        '... is logged with its code');

    $endpoint->answer(body => '{"error":"","access_token":"AT"}');
    is($nginx->get('/error_plain')->{status}, 200, 'an empty error is none');
    $endpoint->answer(body => '{"errcode":0,"access_token":"AT"}');
    is($nginx->get('/error_plain')->{status}, 200, '... nor an errcode of 0');
}


# refresh grants
{
    my %wanted = (form => ['POST', 'form'], json => ['POST', 'json'],
        query => ['GET', 'query'], post => ['GET', 'query']);

    $endpoint->answer;

    for my $name (sort keys %wanted) {
        $endpoint->reset;
        is(refresh("/refresh/$name", 'scope=a+b')->{status}, 200,
            "refresh grant: $name");

        my $sent = sent();
        my ($method, $type) = @{ $wanted{$name} };
        my $read = $type eq 'json' ? eval { $json->decode($sent->{body}) }
            : form($type eq 'query' ? $sent->{query} : $sent->{body});
        my %client = $name eq 'post' ? %$POST : (client_id => 'other');

        is($sent->{method}, $method, '... its method');
        is_deeply($read, { grant_type => 'refresh_token', scope => 'a b',
            refresh_token => 'rt&1', %client }, '... its parameters');
    }

    $endpoint->answer(body => '{"code":20026,"msg":"refresh token expired"}');
    is(refresh('/refresh/json')->{status}, 400,
        'refresh grant: a mapped error is the caller\'s');
    $endpoint->answer(body => '{"code":"invalid_client"}');
    is(refresh('/refresh/json')->{status}, 502,
        'refresh grant: ... or the client\'s');
    $endpoint->answer;
}


# the cache
{
    my @cached = cached();
    my %token;

    $endpoint->answer(body => '{"a":"A-%d","b":"B-%d","access_token":"T-%d",'
        . '"expires_in":3600,"code":0}');

    for my $round (1, 2) {
        for my $case (@cached) {
            my $response = $nginx->get("/cached/$case->[0]");

            $token{ $case->[0] }{ $response->{content} }++;
        }
    }

    is(scalar(keys %token), 10, 'cached: ten locations');
    is_deeply([map { scalar keys %{ $token{$_} } } sort keys %token],
        [(1) x @cached], '... each keeps its token');

    my %seen = map { map { $_ => 1 } keys %{ $_ } } values %token;

    is(scalar(keys %seen), @cached - 1, '... no two share one');
    is_deeply($token{same}, $token{also}, '... but those that are the same');
    like((keys %{ $token{a} })[0], qr/"A-\d+"/, '... a mapped token');
    like((keys %{ $token{b} })[0], qr/"B-\d+"/, '... another one');

    is($nginx->get('/api/x')->{status}, 200, 'token_proxy_bearer: a mapped token');
    like(($api->requests)[0], qr/^Authorization: Bearer A-\d+\r$/m,
        '... is what an API gets');
}


# values of variables that are not UTF-8
{
    my $log = length $nginx->error_log;

    $endpoint->answer;
    $endpoint->reset;
    is($nginx->get('/utf8')->{status}, 500, 'bytes that are not UTF-8: 500');
    is($endpoint->calls, 0, '... no call');
    like(substr($nginx->error_log, $log),
        qr/the value of parameter "x" of "token_proxy_param" is not UTF-8/,
        '... the log says which');
}


# what is in a log
{
    for my $case (['malformed?port=x', {}, qr{invalid port in "token_proxy_endpoint" "http://127\.0\.0\.1:x/"}],
        ['malformed_form?port=x', {}, qr{invalid port in "token_proxy_endpoint" "http://127\.0\.0\.1:x/"}],
        ['nothing', {}, qr{connect\(\) failed.*upstream: "http://127\.0\.0\.1:\d+/"}],
        ['nobody', {}, qr{connect\(\) .*failed.*upstream: "http://unix:[^"?]+/nobody:/"}],
        (map {
            ["$_", {}, qr{a user name in "token_proxy_endpoint" is not allowed}],
            ["$_?x=alone", {}, qr{a user name in "token_proxy_endpoint" is not allowed}],
            ["$_?x=slash", {}, qr{invalid port in "token_proxy_endpoint" "http://",}],
            ["$_?x=socket", {}, qr{no ":" between the socket and the "\?" in "token_proxy_endpoint" "http://unix:[^"?]+/socket",}],
        } qw(user user_cached)),
        ['log', { close => 1 }, qr{prematurely closed .*upstream: "http://127\.0\.0\.1:\d+/token"}],
        ['log', { status => 401 }, qr{token endpoint "http://[^"?]+" answered 401}],
        ['log', { body => '{}' }, qr{answer of token endpoint "http://[^"?]+" has no}],
        ['log', { body => 'x' x 100_000 }, qr{too big .*upstream: "http://[^"?]+"}])
    {
        my ($path, $answer, $line) = @$case;
        my $log = length $nginx->error_log;

        $endpoint->answer(%$answer);
        is($nginx->get("/$path")->{status}, 502, "$path: 502");
        like(substr($nginx->error_log, $log), $line, '... is logged');
    }

    $endpoint->answer(status => 401, body => '{"error":"bad password the-password"}');
    $nginx->get('/log');
    like($nginx->error_log, qr/answered 401.*\(not shown\)/,
        'an error that repeats a parameter is not shown');

    my $status = $nginx->get('/status')->{content};

    like($status, qr/"invalid":\{/, 'a URL with a user name is counted as "invalid"');
    unlike($status, qr/the-password/, '... without the password');

    my $log = $nginx->error_log . $nginx->access_log;

    like($log, qr/\[debug\]/, 'the error log is of level debug');
    unlike($log, qr/my-secret|client_secret=/, 'no query with a secret is in a log');
    unlike($log, qr/the-password|my-code/, '... nor with another one');
    unlike($log, qr/the-refresh|rt%261|rt&1/, '... nor a refresh token');
    is(`grep -rlE 'client_secret=my|"client_secret"' @{[ $nginx->dir ]}/logs`, '',
        '... nor in another file');
}

no_secrets($nginx);
$nginx->stop;


# A second server would be asked again what the first one was sent.
{
    my $second = Token::Endpoint->new;

    $nginx->configure(server => place('next', 'request query',
        'endpoint http://servers/token'), http => <<"END");
    upstream servers {
        server 127.0.0.1:@{[ $endpoint->port ]};
        server 127.0.0.1:@{[ $second->port ]};
    }
END
    $endpoint->reset;
    $endpoint->answer(close => 1);
    $second->answer(close => 1);
    $nginx->start;
    is($nginx->get('/next')->{status}, 502, 'a server that closes: 502');
    is($endpoint->calls + $second->calls, 1, '... and no other is asked');
    $nginx->stop;
}


sub place {
    my ($name, @directives) = @_;
    my %set = map { /^(\w+)/ ? ($1 => 1) : () } @directives;

    unshift @directives, "endpoint $url" unless $set{endpoint};
    unshift @directives, 'client_id my-key', 'client_secret my-secret'
        unless grep { $_ eq 'auth_method none' } @directives;
    return "location = /$name { token_proxy on; "
        . join('', map { /^!(.*)/s ? "$1; " : "token_proxy_$_; " } @directives)
        . "}\n";
}


# Locations with a cache, of which "also" is the same as "same".
sub cached {
    return map { my ($name, @more) = @$_; [$name, ['fields access_token', @more]] }
        ['same'], ['also'],
        [json => 'request json'],
        [query => 'request query'],
        [off => 'grant_type off'],
        [a => 'member access_token a'],
        [b => 'member access_token b'],
        [a_code => 'member access_token a', 'member error code'],
        [a_code2 => 'member access_token a', 'member error_description code'],
        [a_json => 'member access_token a', 'request json'];
}


sub refresh {
    my ($path, $more) = @_;

    return $nginx->request(POST => $path,
        { 'Content-Type' => 'application/x-www-form-urlencoded' },
        'grant_type=refresh_token&refresh_token=rt%261'
        . ($more ? "&$more" : ''));
}


# The last request, taken apart.
sub sent {
    my ($head, $body) = split /\r\n\r\n/, ($endpoint->requests)[-1] // '', 2;
    my ($line, @lines) = split /\r\n/, $head // '';
    my ($method, $uri) = split ' ', $line // '';

    return {
        method => $method // '', body => $body // '',
        query => ($uri // '') =~ /\?(.*)/ ? $1 : undef,
        headers => { map { /^([^:]+): *(.*)/ ? (lc $1 => $2) : () } @lines },
    };
}


sub form {
    my ($text) = @_;

    return { map { tr/+/ /r =~ s/%(..)/chr hex $1/ger }
        map { (split(/=/, $_, 2), '')[0, 1] } split /&/, $text // '' };
}
