# The JWT bearer grant (RFC 7523 2.1): an assertion that the module signs, and
# the certificate in its header. openssl verifies each signature.

use strict;
use warnings;
use lib 't/lib';

use Test::More tests => 95;
use JSON::PP qw(decode_json);
use MIME::Base64 qw(encode_base64 encode_base64url);
use Token::Cache qw(no_secrets);
use Token::Endpoint;
use Token::Jwt qw(decode_jwt verified);
use Token::Server;
use Token::Util qw(spew work_dir);

my $GRANT = 'urn:ietf:params:oauth:grant-type:jwt-bearer';

# algorithm => how openssl makes its key
my %KEYS = (
    RS256 => 'RSA -pkeyopt rsa_keygen_bits:2048',
    PS256 => 'RSA-PSS -pkeyopt rsa_keygen_bits:2048',
    ES256 => 'EC -pkeyopt ec_paramgen_curve:P-256',
    ES384 => 'EC -pkeyopt ec_paramgen_curve:P-384',
    EdDSA => 'ED25519',
);

my $dir = work_dir();

for my $alg (sort keys %KEYS) {
    openssl("genpkey -algorithm $KEYS{$alg} -out $dir/$alg.key");
    openssl("pkey -in $dir/$alg.key -pubout -out $dir/$alg.pub");
    chmod 0600, "$dir/$alg.key";
}

openssl("req -x509 -new -key $dir/$_.key -subj /CN=client -days 2 -out $dir/$_.crt")
    for qw(RS256 ES256);
spew("$dir/claim", "of a file \"\\ \xc3\xa4\n");
chmod 0600, "$dir/claim";

my $endpoint = Token::Endpoint->new;
my $url = $endpoint->url;
my @GRANT = ("grant_type $GRANT", "private_key $dir/RS256.key",
    'client_id my-key');
my @NONE = (@GRANT, 'auth_method none');
my @CACHED = (@NONE, 'cache tokens');
my @X5T = ("certificate $dir/RS256.crt");

my $nginx = Token::Server->new(
    env => { CLAIM => 'of the environment' },
    http => 'token_proxy_cache_zone zone=tokens:1m;
        token_proxy_retry_backoff 1ms 1ms;',
    server => "set \$bytes \"\xff\";\n" . join('', map { place(@$_) }
        [none => @NONE],
        (map { [$_ => @NONE[0, 2, 3], "private_key $dir/$_.key",
            "key_id kid-$_"] } sort keys %KEYS),
        [basic => @GRANT, 'client_secret my-secret'],
        [post => @GRANT, 'client_secret my-secret',
            'auth_method client_secret_post'],
        [both => @GRANT, 'auth_method private_key_jwt alg=PS256', @X5T],
        [claims => @NONE, 'grant_claim scope "a b"', 'grant_claim sub me',
            'grant_claim x env:CLAIM', "grant_claim y file:$dir/claim",
            "grant_claim \xc3\xa4\\\" \"q\\\"\"", 'grant_claim aud urn:x'],
        [empty => @NONE, 'grant_claim sub ""', 'grant_claim x $arg_x'],
        [no_id => @NONE[0, 1, 3], 'grant_claim iss i', 'grant_claim sub s'],
        [audience => @NONE, 'assertion_audience urn:audience'],
        [variables => @NONE, 'client_id id-$arg_id', 'grant_claim x $arg_x'],
        [utf8 => @NONE, 'grant_claim x $bytes'],
        [given => "grant_type $GRANT", 'auth_method none', 'client_id my-key',
            'param assertion the.given.assertion', 'grant_claim x y'],
        [json => @NONE, 'request json'],
        [query => @NONE, 'request query'],
        [refresh => @GRANT, 'client_secret my-secret', 'refresh_grant on'],
        [x5t => @NONE, @X5T],
        [x5t_es => @NONE[0, 2, 3], "private_key $dir/ES256.key",
            "certificate $dir/ES256.crt"],
        [x5t_client => 'client_id my-key', 'auth_method private_key_jwt',
            "private_key $dir/RS256.key", @X5T],
        [x5t_secret => 'client_id my-key', 'client_secret ' . 'x' x 40,
            'auth_method client_secret_jwt', @X5T],

        [cached => @CACHED], [cached_too => @CACHED],
        [cached_claim => @CACHED, 'grant_claim scope a'],
        [cached_claim2 => @CACHED, 'grant_claim scope b'],
        [cached_sub => @CACHED, 'grant_claim sub a'],
        [cached_key => @CACHED[0, 2 .. 4], "private_key $dir/ES256.key"],
        [cached_x5t => @CACHED, @X5T],
        [tenant => @CACHED, 'grant_claim sub $arg_sub']),
)->start;


# what is sent
{
    my ($jwt, $form) = sent('none');
    my $now = time;

    is(join(' ', sort keys %$form), 'assertion grant_type',
        'none: the parameters, the assertion among them');
    is($form->{grant_type}, $GRANT, '... the grant type');
    is_deeply($jwt->{header}, { alg => 'RS256', typ => 'JWT' }, '... the header');

    my %claims = %{ $jwt->{claims} };

    is(join(' ', sort keys %claims), 'aud exp iat iss jti sub', '... the claims');
    is("$claims{iss} $claims{sub} $claims{aud}", "my-key my-key $url",
        '... iss, sub and aud');
    is($claims{exp} - $claims{iat}, 60, '... its lifetime');
    ok($claims{iat} >= $now - 12 && $claims{iat} <= $now - 8,
        '... it is some seconds old');
    like($claims{jti}, qr/^[\w-]{22}$/, '... its id');
    unlike($endpoint->{last}, qr/^Authorization:/mi, '... no Authorization');

    my ($again) = sent('none');
    isnt($again->{claims}{jti}, $claims{jti}, '... another id for each call');
}

for my $alg (sort keys %KEYS) {
    my ($jwt) = sent($alg);

    is_deeply($jwt->{header}, { alg => $alg, typ => 'JWT', kid => "kid-$alg" },
        "$alg: the header");
    ok(verified($jwt, $alg, "$dir/$alg.pub"), '... the signature');
    $jwt->{signed} =~ s/.$/-/;
    ok(!verified($jwt, $alg, "$dir/$alg.pub"), '... is of this text');
}

# with an authentication of the client
{
    my (undef, $form) = sent('basic');

    is(join(' ', sort keys %$form), 'assertion grant_type', 'Basic: the body');
    like($endpoint->{last}, qr/^Authorization: Basic /m, '... and the header');

    (undef, $form) = sent('post');
    is(join(' ', sort keys %$form), 'assertion client_id client_secret '
        . 'grant_type', 'client_secret_post: the body');

    (undef, $form) = sent('both');
    is(join(' ', sort keys %$form), 'assertion client_assertion '
        . 'client_assertion_type client_id grant_type', 'private_key_jwt: the body');

    for my $name (qw(assertion client_assertion)) {
        my $jwt = decode_jwt($form->{$name});

        ok(verified($jwt, 'PS256', "$dir/RS256.pub"), "... $name is signed");
        is_deeply([sort keys %{ $jwt->{header} }], ['alg', 'typ', 'x5t', 'x5t#S256'],
            '... with the certificate in its header');
    }

    isnt(decode_jwt($form->{assertion})->{claims}{jti},
        decode_jwt($form->{client_assertion})->{claims}{jti},
        '... each has an id of its own');
}


# claims
{
    my ($jwt) = sent('claims');
    my %claims = %{ $jwt->{claims} };

    is($claims{iss}, 'my-key', 'claims: iss');
    is($claims{sub}, 'me', '... sub');
    is($claims{aud}, 'urn:x', '... aud');
    is($claims{scope}, 'a b', '... scope');
    is($claims{x}, 'of the environment', '... of the environment');
    is($claims{y}, "of a file \"\\ \x{e4}", '... of a file');
    is($claims{"\x{e4}\""}, 'q"', '... a name that JSON has to escape');
    ok(verified($jwt, 'RS256', "$dir/RS256.pub"), '... the signature');

    ($jwt) = sent('empty');
    is(join(' ', sort keys %{ $jwt->{claims} }), 'aud exp iat iss jti',
        'an empty claim is left out');
    ($jwt) = sent('empty?x=1');
    is($jwt->{claims}{x}, '1', '... of a variable, unless it has a value');

    ($jwt, my $form) = sent('no_id');
    is("$jwt->{claims}{iss} $jwt->{claims}{sub}", 'i s', 'no client id is needed');
    is(join(' ', sort keys %$form), 'assertion grant_type', '... nor sent');

    ($jwt) = sent('audience');
    is($jwt->{claims}{aud}, 'urn:audience', 'token_proxy_assertion_audience');

    ($jwt) = sent('variables?id=1&x=%22');
    is("$jwt->{claims}{iss} $jwt->{claims}{x}", 'id-1 %22', 'variables');

    $endpoint->reset;
    is($nginx->get('/utf8')->{status}, 500, 'a value that is not UTF-8: 500');
    is($endpoint->calls, 0, '... no call');
    like($nginx->error_log, qr/the value of claim "x" of "token_proxy_grant_claim" is not UTF-8/,
        '... the log says which');

    (undef, $form) = sent('given');
    is_deeply($form, { grant_type => $GRANT, client_id => 'my-key',
        assertion => 'the.given.assertion' }, 'an assertion that is given is sent');
}


# other forms, and a refresh grant
{
    my ($jwt, $form) = sent('json');

    is(join(' ', sort keys %$form), 'assertion grant_type', 'json: the object');
    ok(verified($jwt, 'RS256', "$dir/RS256.pub"), '... the signature');
    ($jwt, $form) = sent('query');
    is(join(' ', sort keys %$form), 'assertion grant_type', 'query: the URL');
    ok(verified($jwt, 'RS256', "$dir/RS256.pub"), '... the signature');

    $endpoint->reset;
    $nginx->request(POST => '/refresh',
        { 'Content-Type' => 'application/x-www-form-urlencoded' },
        'grant_type=refresh_token&refresh_token=rt-1');
    (undef, $form) = last_sent();
    is_deeply($form, { grant_type => 'refresh_token', refresh_token => 'rt-1' },
        'a refresh grant has no assertion');
}


# the certificate, whose thumbprints openssl makes as well
for my $case ([x5t => 'RS256', 'assertion'], [x5t_es => 'ES256', 'assertion'],
    [x5t_client => 'RS256', 'client_assertion'])
{
    my ($location, $alg, $name) = @$case;
    my (undef, $form) = sent($location);
    my $jwt = decode_jwt($form->{$name});

    is($jwt->{header}{x5t}, thumbprint($alg, 'sha1'), "$location: x5t");
    is($jwt->{header}{'x5t#S256'}, thumbprint($alg, 'sha256'), '... x5t#S256');
    ok(verified($jwt, $alg, "$dir/$alg.pub"), '... the signature');
}

{
    my (undef, $form) = sent('x5t_secret');

    is_deeply(decode_jwt($form->{client_assertion})->{header},
        { alg => 'HS256', typ => 'JWT' },
        'what is signed with a secret has no certificate');
}


# the cache
{
    my %token;

    $endpoint->reset;

    for my $name (map { ($_, $_) } qw(cached cached_too cached_claim
        cached_claim2 cached_sub cached_key cached_x5t tenant?sub=a tenant?sub=b))
    {
        $token{$name}{ decode_json($nginx->get("/$name")->{content})->{access_token} }++;
    }

    is($endpoint->calls, 7, 'cached: a call for each identity');
    is(scalar(grep { keys %$_ == 1 } values %token), 9, '... each keeps its token');
    is_deeply($token{cached}, $token{cached_too}, '... two that are the same share one');
    is_deeply($token{cached_sub}, $token{'tenant?sub=a'},
        '... also if one has a variable');
    isnt((keys %{ $token{'tenant?sub=a'} })[0], (keys %{ $token{'tenant?sub=b'} })[0],
        '... and another value has another one');
}

{
    my $log = $nginx->error_log . $nginx->access_log;

    like($log, qr/\[debug\]/, 'the error log is of level debug');
    unlike($log, qr/eyJ[\w-]+/, '... no assertion is in a log');
    no_secrets($nginx);
}

$nginx->stop;


# an endpoint whose clock is behind, and one that is ahead
{
    my $file = "$dir/RS256.pub";

    for my $clock (-2, -8, 30) {
        my $server = Token::Jwt->new(key => $file, alg => 'RS256', clock => $clock);

        $nginx->configure(server => place('token', "endpoint " . $server->url, @NONE));
        $nginx->start;
        is($nginx->get('/token')->{status}, 200, "an endpoint $clock s off");
        $nginx->stop;
    }

    my $server = Token::Jwt->new(key => "$dir/ES256.pub", alg => 'RS256');

    $nginx->configure(server => place('token', "endpoint " . $server->url, @NONE));
    $nginx->start;
    is($nginx->get('/token')->{status}, 502, '... and one that has another key');
    $nginx->stop;
}


# what is wrong in a configuration
for my $case (
    [qr/"token_proxy_grant_type $GRANT" needs "token_proxy_private_key", or "token_proxy_param assertion"/,
        @NONE[0, 2, 3]],
    [qr/environment variable "CONSUMER_KEY" of "token_proxy_client_id" is not set/,
        @NONE[0, 1, 3]],
    [qr/environment variable "CONSUMER_SECRET" of "token_proxy_client_secret" is not set/,
        @GRANT],
    [qr/key "\S+" of "token_proxy_private_key" does not fit any algorithm of "token_proxy_grant_type"/,
        @NONE[0, 2, 3], "private_key $dir/weak.key"],
    [qr/certificate "\S+" of "token_proxy_certificate" does not belong to key "\S+" of "token_proxy_private_key"/,
        @NONE, "certificate $dir/ES256.crt"],
    [qr/certificate "\S+" of "token_proxy_certificate" does not belong to key/,
        'client_id my-key', 'auth_method private_key_jwt',
        "private_key $dir/ES256.key", @X5T],
    [qr/"\S+" of "token_proxy_certificate" is not a PEM file with a certificate/,
        @NONE, "certificate $dir/RS256.key"],
    [qr/open\(\) "\S+" of "token_proxy_certificate" failed/,
        @NONE, 'certificate nothing.crt'],
    [qr/"token_proxy_certificate" directive is duplicate/, @NONE, @X5T, @X5T],
    [qr/parameter "client_assertion" cannot be set by "token_proxy_param"/,
        @GRANT, 'auth_method private_key_jwt', 'param client_assertion x'])
{
    my ($line, @directives) = @$case;

    openssl("genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:1024 -out $dir/weak.key")
        if !-e "$dir/weak.key";
    delete local @ENV{qw(CONSUMER_KEY CONSUMER_SECRET)};
    $nginx->configure(server => place('token', @directives));

    my ($status, $output) = $nginx->test;

    ok($status && $output =~ /\[emerg\] .*$line.* in \S+:\d+$/m, "nginx -t: $line")
        or diag($output);
}

# claims that nobody signs
for my $case ([1, 'grant_claim x y', 'client_secret s', 'client_id i'],
    [1, "grant_type $GRANT", 'auth_method none', 'param assertion x', 'grant_claim x y'],
    [0, @NONE, 'grant_claim x y'])
{
    my ($warned, @directives) = @$case;

    $nginx->configure(server => place('token', @directives));

    my ($status, $output) = $nginx->test;

    is($status, 0, 'nginx -t: claims');
    is(scalar(grep { /\[warn\] .*"token_proxy_grant_claim" is not used without/ }
        split /\n/, $output), $warned, '... that nobody signs are warned of');
}


sub place {
    my ($name, @directives) = @_;

    # the last of two counts
    my %at = map { my ($d) = $directives[$_] =~ /^(\w+)/; ("$d" => $_) }
        0 .. $#directives;

    @directives = grep { defined } map {
        my ($d) = $directives[$_] =~ /^(\w+)/;
        $d =~ /^(?:grant_claim|param|certificate)$/ || $at{$d} == $_
            ? $directives[$_] : undef } 0 .. $#directives;
    unshift @directives, "endpoint $url" unless exists $at{endpoint};

    return "location = /$name { token_proxy on; "
        . join('', map { "token_proxy_$_; " } @directives) . "}\n";
}


# The assertion of one call, decoded; and all parameters.
sub sent {
    my ($path) = @_;

    $endpoint->reset;

    my $response = $nginx->get("/$path");

    die "$path: $response->{status} $response->{content}\n"
        if $response->{status} != 200;
    return last_sent();
}


sub last_sent {
    my $request = ($endpoint->requests)[-1] // '';
    my ($head, $body) = split /\r\n\r\n/, $request, 2;
    my $text = $head =~ /^GET \S+?\?(\S+)/ ? $1 : $body // '';
    my %form = $head =~ m{^Content-Type: application/json\r?$}m
        ? %{ decode_json($body) }
        : map { tr/+/ /r =~ s/%(..)/chr hex $1/ger }
            map { split /=/, $_, 2 } split /&/, $text;

    $endpoint->{last} = $request;
    return (decode_jwt($form{assertion}), \%form);
}


sub thumbprint {
    my ($name, $digest) = @_;
    my ($hex) = openssl("x509 -in $dir/$name.crt -noout -fingerprint -$digest")
        =~ /=([0-9A-F:]+)/;

    return encode_base64url(pack 'H*', $hex =~ tr/://dr);
}


sub openssl {
    my ($command) = @_;
    my $output = `openssl $command 2>&1`;

    die "openssl $command: $output\n" if $?;
    return $output;
}
