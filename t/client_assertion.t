# A client that authenticates itself by an assertion that another has made: the
# platform writes it to a file, and replaces it.

use strict;
use warnings;
use lib 't/lib';

use Test::More tests => 53;
use Time::HiRes qw(sleep);
use Token::Cache;
use Token::Client;
use Token::Endpoint;
use Token::Server;
use Token::Util qw(spew wait_for work_dir);

my $TYPE = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer';
my $SPIFFE = 'urn:ietf:params:oauth:client-assertion-type:jwt-spiffe';
my $endpoint = Token::Endpoint->new;
my $dir = work_dir();
my $file = jwt('idp', 'eyJhbGciOi.one.sig-na_ture');


# Whether it comes true in ten seconds.
sub soon (&$) {
    my ($condition, $name) = @_;

    return ok(&wait_for($condition, 10), $name);
}


# A file in place of another.
sub jwt {
    my ($name, $content) = @_;

    chmod 0600, spew("$dir/.new", $content);
    rename "$dir/.new", "$dir/$name" or die "$name: $!\n";
    return "file:$dir/$name";
}


sub server {
    my ($locations, %options) = @_;

    $endpoint->reset;

    return Token::Server->new(%options,
        http => 'token_proxy_cache_zone zone=tokens:1m;'
            . 'add_header X-Cache $token_proxy_cache_status always;'
            . 'token_proxy_auth_method client_assertion;' . ($options{more} // ''),
        server => join '', map { location($_->[0], $endpoint->url,
            @$_[1 .. $#$_]) } @$locations);
}


# The form of the last request; an Authorization header is in it as well.
sub sent {
    my ($request) = ($endpoint->requests)[-1] // return {};
    my ($form) = $request =~ /\r\n\r\n(.*)/s;
    my ($header) = $request =~ /^Authorization: (.*)\r$/m;

    return {
        (map { my ($n, $v) = split /=/, $_, 2; $n => $v =~ s/%(..)/chr hex $1/egr }
            split /&/, $form),
        defined $header ? (Authorization => $header) : (),
    };
}


# what is sent
{
    my $nginx = server([
        ['file', "token_proxy_client_assertion $file"],
        ['id', "token_proxy_client_assertion $file", 'token_proxy_client_id my-app'],
        ['type', "token_proxy_client_assertion $file type=$SPIFFE"],
        ['env', 'token_proxy_client_assertion env:TOKEN_TEST_JWT'],
        ['odd', 'token_proxy_client_assertion "literal:a+b/c=$d"'],
        ['json', "token_proxy_client_assertion $file", 'token_proxy_request json'],
        ['grant', "token_proxy_client_assertion $file", 'token_proxy_refresh_grant on'],
        ['tenant', 'token_proxy_client_assertion $http_x_assertion'],
    ], env => { TOKEN_TEST_JWT => 'eyJ.env.sig' })->start;

    is($nginx->get('/file')->{status}, 200, 'a token');
    is_deeply(sent(), { grant_type => 'client_credentials',
        client_assertion_type => $TYPE,
        client_assertion => 'eyJhbGciOi.one.sig-na_ture' },
        '... for the assertion, without an id or a secret');

    $nginx->get('/id');
    is(sent()->{client_id}, 'my-app', 'an id that is configured is sent');
    is(sent()->{client_assertion}, 'eyJhbGciOi.one.sig-na_ture', '... beside it');

    $nginx->get('/type');
    is(sent()->{client_assertion_type}, $SPIFFE, 'another type');

    $nginx->get('/env');
    is(sent()->{client_assertion}, 'eyJ.env.sig', 'from the environment');

    $nginx->get('/odd');
    is(sent()->{client_assertion}, 'a+b/c=$d', 'a text with odd characters');

    $nginx->get('/json');
    like(($endpoint->requests)[-1], qr/"client_assertion":"eyJhbGciOi\.one\.sig-na_ture"/,
        'as JSON');

    $nginx->request(POST => '/grant',
        { 'Content-Type' => 'application/x-www-form-urlencoded' },
        'grant_type=refresh_token&refresh_token=mine');
    is(sent()->{refresh_token}, 'mine', 'a refresh grant of a caller');
    is(sent()->{client_assertion}, 'eyJhbGciOi.one.sig-na_ture', '... with the assertion');

    my $a = $nginx->get('/tenant', 'X-Assertion' => 'eyJ.a.sig');
    my $b = $nginx->get('/tenant', 'X-Assertion' => 'eyJ.b.sig');

    is(sent()->{client_assertion}, 'eyJ.b.sig', 'from a variable');
    another($a, token($b), '... a token for each');
    is(token($nginx->get('/tenant', 'X-Assertion' => 'eyJ.a.sig')), token($a),
        '... which is kept');
    another($nginx->get('/tenant', 'X-Assertion' => $file =~ s/^file://r),
        token($nginx->get('/file')), '... and none for the name of a file');

    my $calls = $endpoint->calls;

    is($nginx->get('/tenant')->{status}, 500, 'an empty variable');
    like($nginx->raw("GET /tenant HTTP/1.0\r\nX-Assertion: a\xe9\r\n\r\n"),
        qr{^HTTP/1\.1 500 }, 'one with characters that none has');
    is($endpoint->calls, $calls, '... no call');
    like($nginx->error_log, qr/the value of "token_proxy_client_assertion" is empty/,
        '... and the log says it');

    $endpoint->answer(status => 400,
        body => '{"error":"invalid_client","error_description":"eyJhbGciOi.one.sig-na_ture expired"}');
    $nginx->configure(server => location('new', $endpoint->url,
        "token_proxy_client_assertion $file", 'token_proxy_param scope new'));
    $nginx->reload;
    is($nginx->get('/new')->{status}, 502, 'an assertion that is refused');
    like($nginx->error_log, qr/\[error\] .*answered 400, error: invalid_client/,
        '... the log says why');
    no_secrets($nginx, qr/sig-na_ture/, qr/eyJ\.env/);
    $endpoint->answer;
}


# replaced under load: the endpoint takes an assertion for a while only
{
    my $nginx = server([['a', "token_proxy_client_assertion $file"]], workers => 2);

    $endpoint->answer(expires_in => 2, secrets => ['eyJhbGciOi.one.sig-na_ture', 'eyJ.2.sig']);
    $nginx->start;

    my $load = Token::Client->load($nginx->port, '/a', processes => 2,
        seconds => 60, gap => 0.005);
    my $n = 2;

    for (1 .. 3) {
        my ($old, $new, $next) = map { "eyJ.$_.sig" } $n - 1, $n, $n + 1;

        jwt('idp', "$new\n");
        soon { (sent()->{client_assertion} // '') eq $new }
            "assertion $_ is replaced: a renewal uses the new one";
        sleep 1.2;
        $endpoint->answer(expires_in => 2, secrets => [$new, $next]);
        $n++;
    }

    my $result = $load->stop;

    is($result->{failed}, 0, '... no request has failed')
        or diag explain $result->{why};
    cmp_ok($result->{requests}, '>', 100, '... of many');
    $endpoint->answer;
}


# the key of an entry is the client
{
    my $nginx = server([
        ['a', "token_proxy_client_assertion $file"],
        ['id', "token_proxy_client_assertion $file", 'token_proxy_client_id other'],
        ['type', "token_proxy_client_assertion $file type=$SPIFFE"],
        ['file', 'token_proxy_client_assertion ' . jwt('second', 'eyJ.4.sig')],
    ])->start;

    my %token = map { $_ => token($nginx->get("/$_")) } qw(a id type file);

    my %different = map { $_ => 1 } values %token;

    is(scalar(keys %different), 4, 'another id, type or file is another client');

    my $calls = $endpoint->calls;

    jwt('idp', 'eyJ.9.sig');
    sleep 2.2;
    is(token($nginx->get('/a')), $token{a}, 'another assertion: the token stays');
    is(status($nginx->get('/a')), 'HIT', '... in the cache');
    $nginx->reload;
    is(token($nginx->get('/a')), $token{a}, '... after a reload too');
    is($endpoint->calls, $calls, '... no call');
}


# half an assertion, and none
{
    my $nginx = server([['a', "token_proxy_client_assertion $file",
        'token_proxy_cache off']])->start;

    $nginx->get('/a');
    is(sent()->{client_assertion}, 'eyJ.9.sig', 'a good one');

    for (['an empty file' => ''], ['two lines' => "eyJ\nabc"]) {
        my ($name, $content) = @$_;

        jwt('idp', $content);
        sleep 1.2;
        is($nginx->get('/a')->{status}, 200, "$name: a token");
        is(sent()->{client_assertion}, 'eyJ.9.sig', '... by the one before');
    }

    unlink "$dir/idp";
    sleep 1.2;
    is($nginx->get('/a')->{status}, 200, 'no file: a token');
    is(scalar(() = $nginx->error_log =~ /\[warn\] .*idp" of "token_proxy_client_assertion"/g), 3,
        '... and a warning for each');
    jwt('idp', 'eyJ.10.sig');
    soon { $nginx->get('/a'); sent()->{client_assertion} eq 'eyJ.10.sig' }
        '... until there is one';
}


# nginx -t
for (
    ['no assertion' => '', 'client_assertion" needs "token_proxy_client_assertion"'],
    ['no such file' => "token_proxy_client_assertion file:$dir/none;", 'failed \(2:'],
    ['no parameter' => "token_proxy_client_assertion $file kind=a;", 'invalid parameter "kind=a"'],
    ['no type' => "token_proxy_client_assertion $file type=;", 'invalid parameter "type="'],
    ['twice' => "token_proxy_client_assertion $file; token_proxy_client_assertion $file;",
        'is duplicate'],
    ['as a parameter' => "token_proxy_client_assertion $file; token_proxy_param client_assertion a;",
        '"client_assertion" cannot be set'],
    ['with alg=' => "token_proxy_client_assertion $file; token_proxy_auth_method client_assertion alg=RS256;",
        'has an algorithm with'],
) {
    my ($name, $lines, $message) = @$_;
    my ($status, $output) = server([['a', $lines =~ s/;$//r || 'token_proxy_fields access_token']])->test;

    isnt($status, 0, "$name: nginx -t fails");
    like($output, qr/$message/, '... and says why');
}
