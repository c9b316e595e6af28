# The assertion as the endpoint receives it: when there is one, what is in it,
# and where it must not be found.

use strict;
use warnings;
use lib 't/lib';

use Test::More tests => 212;
use Digest::SHA qw(hmac_sha256 hmac_sha384 hmac_sha512);
use JSON::PP qw(decode_json);
use MIME::Base64 qw(decode_base64url encode_base64url);
use Token::Endpoint;
use Token::Jwt qw(decode_jwt verified);
use Token::Server;
use Token::Util qw(wait_for work_dir);

my $SECRET = 'the-shared-secret-of-more-than-thirty-two-bytes';
my $TYPE = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer';

# algorithm => how openssl makes its key
my %KEYS = (
    RS256 => 'RSA -pkeyopt rsa_keygen_bits:2048',
    PS256 => 'RSA-PSS -pkeyopt rsa_keygen_bits:2048',
    ES256 => 'EC -pkeyopt ec_paramgen_curve:P-256',
    ES384 => 'EC -pkeyopt ec_paramgen_curve:P-384',
    EdDSA => 'ED25519',
    Ed448 => 'ED448',
);

my $dir = work_dir();

for my $alg (sort keys %KEYS) {
    my $output = `openssl genpkey -algorithm $KEYS{$alg} -out $dir/$alg.key 2>&1`;

    die "$alg: $output\n" if $?;
    chmod 0600, "$dir/$alg.key";
    `openssl pkey -in $dir/$alg.key -pubout -out $dir/$alg.pub`;
}

my $endpoint = Token::Endpoint->new;
my $url = $endpoint->url;

my $nginx = Token::Server->new(
    http => "token_proxy_cache_zone zone=tokens:1m;
        token_proxy_client_id my-key;
        token_proxy_client_secret $SECRET;
        token_proxy_retry_backoff 1ms 1ms;
        map \$arg_aud \$audience { default \$arg_aud; }
        upstream two { server 127.0.0.1:1; server 127.0.0.1:"
        . $endpoint->port . '; }',
    server => join('', map { location(@$_) } (
        [hs => 'auth_method client_secret_jwt'],
        [HS256 => 'auth_method client_secret_jwt alg=HS256'],
        [HS384 => 'auth_method client_secret_jwt alg=HS384'],
        [HS512 => 'auth_method client_secret_jwt alg=HS512'],
        (map { [$_ => 'auth_method private_key_jwt',
            "private_key $dir/$_.key", "key_id kid-$_"] } sort keys %KEYS),
        [PS256_rsa => 'auth_method private_key_jwt alg=PS256',
            "private_key $dir/RS256.key"],

        [odd => 'auth_method client_secret_jwt', q(client_id 'a"b\\c/d'),
            q(key_id '"\\\\'), q(assertion_audience 'x"y\\z'), 'param scope a'],
        [variable => 'auth_method client_secret_jwt', 'client_id id-$arg_id',
            'client_secret secret-of-$arg_id', 'assertion_audience $audience'],
        [tenant => 'auth_method client_secret_jwt',
            'cache tokens', 'client_id id-$arg_id',
            'client_secret secret-of-$arg_id', 'assertion_audience $audience'],
        [dead => 'auth_method client_secret_jwt'],

        [cached => 'auth_method client_secret_jwt', 'cache tokens'],
        [cached_too => 'auth_method client_secret_jwt', 'cache tokens'],
        [cached_512 => 'auth_method client_secret_jwt alg=HS512',
            'cache tokens'],
        [cached_secret => 'auth_method client_secret_jwt', 'cache tokens',
            'client_secret another-shared-secret-of-the-same-client'],
        [cached_aud => 'auth_method client_secret_jwt', 'cache tokens',
            'assertion_audience urn:a'],
        [cached_kid => 'auth_method client_secret_jwt', 'cache tokens',
            'key_id 1'],
        [cached_key => 'auth_method private_key_jwt', 'cache tokens',
            "private_key $dir/ES256.key"],
        [cached_key2 => 'auth_method private_key_jwt', 'cache tokens',
            "private_key $dir/ES384.key"],
        [cached_post => 'auth_method client_secret_post', 'cache tokens'],
        [cached_none => 'auth_method none', 'cache tokens'],

    )) . location('path', 'auth_method client_secret_jwt')
        =~ s/\Q$url/$url\/of\/\$arg_tenant?a=b/r
    . location('two', 'auth_method client_secret_jwt')
        =~ s/\Q$url/http:\/\/two\/token/r,
    log_level => 'debug')->start;


# what is in it
{
    my ($jwt, $form) = sent('hs');
    my $now = time;

    is(join('&', sort keys %$form), 'client_assertion&client_assertion_type'
        . '&client_id&grant_type', 'what is sent');
    is($form->{client_assertion_type}, $TYPE, 'the type of the assertion');
    is($form->{client_id}, 'my-key', 'the client id');
    is_deeply($jwt->{header}, { alg => 'HS256', typ => 'JWT' }, 'the header');

    my %claims = %{ $jwt->{claims} };
    is(join(' ', sort keys %claims), 'aud exp iat iss jti sub', 'the claims');
    is($claims{iss}, 'my-key', 'iss');
    is($claims{sub}, 'my-key', 'sub');
    is($claims{aud}, $url, 'aud is the endpoint');
    ok($claims{iat} - $now <= -8 && $claims{iat} - $now >= -12,
        'iat is some seconds back, for an endpoint whose clock is behind');
    is($claims{exp} - $claims{iat}, 60, 'it is good for one minute');
    like($claims{iat}, qr/^\d+$/, 'a number');
    like($claims{jti}, qr/^[\w-]{22}$/, 'jti has 128 bits');
    unlike($endpoint->{last}, qr/^Authorization:/mi, 'no Authorization header');
    unlike($form->{client_assertion}, qr/[=+\/]/, 'base64url without padding');
}


# signatures
for my $alg (qw(HS256 HS384 HS512)) {
    my ($jwt) = sent($alg);
    my $hmac = { HS256 => \&hmac_sha256, HS384 => \&hmac_sha384,
        HS512 => \&hmac_sha512 }->{$alg};

    is($jwt->{header}{alg}, $alg, "$alg: the header");
    is($jwt->{signature}, encode_base64url($hmac->($jwt->{signed}, $SECRET)),
        "$alg: the signature");
}

for my $name (sort(keys %KEYS), 'PS256_rsa') {
    my ($jwt) = sent($name);
    my ($key) = $name eq 'PS256_rsa' ? 'RS256' : $name;
    my $alg = { PS256_rsa => 'PS256', Ed448 => 'EdDSA' }->{$name} // $name;
    my %header = (alg => $alg, typ => 'JWT');

    $header{kid} = "kid-$name" if $name ne 'PS256_rsa';
    is_deeply($jwt->{header}, \%header, "$name: the header");
    ok(verified($jwt, $alg, "$dir/$key.pub"), "$name: the signature");

    (my $other = $jwt->{signed}) =~ s/.$/-/;
    ok(!verified({ %$jwt, signed => $other }, $alg, "$dir/$key.pub"),
        "$name: ... is of this text");
}

# r and s have leading zeros now and then, and are of full length all the same
{
    my %length;

    for (1 .. 60) {
        my ($jwt) = sent('ES256');

        $length{ length decode_base64url($jwt->{signature}) }++;
        verified($jwt, 'ES256', "$dir/ES256.pub") or fail('ES256: a signature');
    }

    is_deeply(\%length, { 64 => 60 }, 'ES256: r and s are of full length');
}


# texts that JSON has to escape
{
    my ($jwt, $form) = sent('odd');

    is($form->{client_id}, 'a"b\\c/d', 'odd: the client id');
    is($jwt->{claims}{sub}, 'a"b\\c/d', 'odd: sub');
    is($jwt->{claims}{aud}, 'x"y\\z', 'odd: aud');
    is($jwt->{header}{kid}, '"\\', 'odd: kid');
    is($form->{scope}, 'a', 'odd: a parameter');
}


# variables
{
    my ($jwt) = sent('variable?id=1&aud=urn:one');
    is($jwt->{claims}{iss}, 'id-1', 'variables: iss');
    is($jwt->{claims}{aud}, 'urn:one', 'variables: aud');
    is($jwt->{signature}, encode_base64url(hmac_sha256($jwt->{signed},
        'secret-of-1')), 'variables: the signature');

    ($jwt) = sent('path?tenant=x');
    is($jwt->{claims}{aud}, "$url/of/x?a=b", 'variables: the endpoint as it is');

    $endpoint->reset;
    is($nginx->get('/variable?id=1')->{status}, 500, 'an empty audience: 500');
    like($nginx->raw("GET /variable?id=1&aud=\xC3 HTTP/1.0\r\n\r\n"),
        qr/^HTTP\S+ 500 /, 'an audience that is not ASCII: 500');
    is($endpoint->calls, 0, '... without a call');
    like($nginx->error_log,
        qr/the value of "token_proxy_assertion_audience" is empty/,
        '... and the log says so');
}


# each call has its own
{
    my %jti = map { my ($jwt) = sent('hs'); $jwt->{claims}{jti} => 1 } 1 .. 20;

    is(keys %jti, 20, 'a jti for each call');
}


# with a cache
{
    my ($first) = sent('cached');
    my $calls = $endpoint->calls;

    is(token('cached'), 'AT-1', 'cached: the same token');
    is(token('cached_too'), 'AT-1', 'cached: of another location, too');
    is($endpoint->calls, $calls, 'cached: no call');

    for my $name (qw(512 secret aud kid key key2 post none)) {
        $calls = $endpoint->calls;
        token("cached_$name");
        is($endpoint->calls, $calls + 1,
            "cached: another identity has another token: $name");
        token("cached_$name");
        is($endpoint->calls, $calls + 1, "cached: ... and keeps it: $name");
    }

    my %aud;
    for my $query (qw(id=1&aud=a id=1&aud=b id=2&aud=a id=1&aud=a)) {
        $aud{ token("tenant?$query") } .= $query;
    }
    is(join(' ', sort values %aud), 'id=1&aud=aid=1&aud=a id=1&aud=b '
        . 'id=2&aud=a', 'cached: variables are part of the identity');
}


# a token that has ended, and one that is renewed ahead of its end
{
    $nginx->stop;
    $nginx->start;
    $endpoint->answer(expires_in => 2);

    my ($first) = sent('cached');
    sleep 3;
    my ($second) = sent('cached');

    isnt($second->{claims}{jti}, $first->{claims}{jti},
        'expired: a fresh assertion');

    select undef, undef, undef, 1.2;
    $endpoint->reset;
    token('cached');
    ok(wait_for(sub { $endpoint->calls == 1 }), 'it is renewed ahead');
    my ($third) = last_sent();
    isnt($third->{claims}{jti}, $second->{claims}{jti},
        'renewed: a fresh assertion');
    $endpoint->answer;
}


# after a failure
{
    $nginx->stop;
    $nginx->start;
    $endpoint->reset;
    $endpoint->next({ status => 500 });
    is($nginx->get('/cached')->{status}, 502, 'failed: 502');
    my ($first) = last_sent();
    select undef, undef, undef, 0.3;
    my ($second) = sent('cached');
    isnt($second->{claims}{jti}, $first->{claims}{jti},
        'tried again: a fresh assertion');
}


# the next server of an upstream block
{
    my ($jwt) = sent('two');
    is($jwt->{claims}{aud}, 'http://two/token', 'the next server: aud');
}


# an endpoint that says why
{
    my $before = length $nginx->error_log;

    $endpoint->next({ status => 401,
        body => encode('invalid_client', 'the assertion is wrong') });
    is($nginx->get('/hs')->{status}, 502, 'refused: 502');

    like(substr($nginx->error_log, $before),
        qr/invalid_client, description: the assertion is wrong/,
        'what the endpoint says is in the log');
}


# not in a log, not on a disk
{
    my $log = $nginx->error_log . $nginx->access_log;

    like($log, qr/\[debug\]/, 'the error log is of level debug');
    unlike($log, qr/eyJ[\w-]+/, 'no assertion is in a log');
    unlike($log, qr/client_assertion=/, 'nor what is around it');
    unlike($log, qr/\Q$SECRET/, 'nor the secret');
    unlike($log, qr/secret-of-/, 'nor one of a variable');
    is(`grep -rlE 'eyJ|client_assertion=' @{[ $nginx->dir ]}`, '',
        'no assertion is in a file');
}

$nginx->stop;
$endpoint->stop;


sub location {
    my ($name, @directives) = @_;

    return "location = /$name { token_proxy on; token_proxy_endpoint $url; "
        . join('', map { "token_proxy_$_; " } @directives) . "}\n";
}


sub encode {
    my ($error, $description) = @_;

    return qq({"error":"$error","error_description":"$description"});
}


sub token {
    my ($path) = @_;
    my $response = $nginx->get("/$path");

    is($response->{status}, 200, "$path: status")
        or diag($response->{content});
    return (eval { decode_json($response->{content}) } // {})->{access_token};
}


# The assertion of one call for this location, decoded; and the whole form.
sub sent {
    my ($path) = @_;

    $endpoint->reset;

    my $response = $nginx->get("/$path");
    is($response->{status}, 200, "$path: status")
        or diag($response->{content});
    return last_sent();
}


sub last_sent {
    my $request = ($endpoint->requests)[-1] // '';
    my ($body) = $request =~ /\r\n\r\n(.*)/s;
    my %form = map { tr/+/ /r =~ s/%(..)/chr hex $1/ger }
        map { split /=/, $_, 2 } split /&/, $body // '';

    $endpoint->{last} = $request;

    return (decode_jwt($form{client_assertion}), \%form);
}
