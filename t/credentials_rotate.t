# Credentials in files that change while nginx runs.

use strict;
use warnings;
use lib 't/lib';

use Test::More tests => 102;
use MIME::Base64 qw(decode_base64);
use Time::HiRes qw(sleep time);
use Token::Cache;
use Token::Client;
use Token::Endpoint;
use Token::Jwt qw(decode_jwt verified);
use Token::Server;
use Token::Util qw(spew wait_for work_dir);

my $endpoint = Token::Endpoint->new;
my $dir = work_dir();

chmod 0755, $dir;


# Whether it comes true in ten seconds.
sub soon (&$) {
    my ($condition, $name) = @_;

    return ok(&wait_for($condition, 10), $name);
}


# A file in place of another, as an editor or an agent of a vault does it.
sub rotate {
    my ($name, $content) = @_;

    chmod 0600, spew("$dir/.new", $content);
    rename "$dir/.new", "$dir/$name" or die "$name: $!\n";
    return "file:$dir/$name";
}


# The form and the client of the last request.
sub sent {
    my ($request) = ($endpoint->requests)[-1] // return {};
    my ($basic) = $request =~ /^Authorization: Basic (\S+)/m;
    my ($form) = $request =~ /\r\n\r\n(.*)/s;

    return {
        (map { my ($n, $v) = split /=/, $_, 2; $n => $v =~ s/%(..)/chr hex $1/egr }
            split /&/, $form // ''),
        defined $basic ? (basic => decode_base64($basic)) : (),
    };
}


# Whether requests of a location come to send this.
sub comes {
    my ($nginx, $path, $name, $value) = @_;

    return wait_for {
        $nginx->get($path);
        (sent()->{$name} // '') eq $value;
    } 5;
}


# The lines of the log about a file at that level.
sub lines {
    my ($nginx, $level, $what) = @_;

    return grep { /\[$level\] .*$what/ } split /\n/, $nginx->error_log;
}


# in each place of a VALUE
{
    my %file = map { $_ => rotate($_, "$_-1") } qw(id secret param claim user);
    my $key = "$dir/es.key";

    key('ES256', 'es.key');

    my $nginx = Token::Server->new(
        http => "token_proxy_client_id $file{id};
            token_proxy_client_secret $file{secret};
            token_proxy_param other $file{param};
            token_proxy_param scope \$arg_scope;",
        server => join('', map { location($_->[0], $endpoint->url,
                'token_proxy_cache off', @$_[1 .. $#$_]) } (
            ['basic'],
            ['all', 'token_proxy_param other ' . $file{param}],
            ['post', 'token_proxy_auth_method client_secret_post'],
            ['json', 'token_proxy_request json'],
            ['hs', 'token_proxy_auth_method client_secret_jwt'],
            ['grant', "token_proxy_private_key $key",
                'token_proxy_grant_type urn:ietf:params:oauth:grant-type:jwt-bearer',
                "token_proxy_grant_claim kind $file{claim}"],
            ['user', 'token_proxy_auth_basic r',
                "token_proxy_auth_basic_user u $file{user}"],
        )))->start;

    $nginx->get('/basic?scope=a');
    is(sent()->{basic}, 'id-1:secret-1', 'the files of the start: Basic');
    is(sent()->{other}, 'param-1', '... and a parameter');
    is(sent()->{scope}, 'a', '... beside a variable');

    is(login($nginx, 'user-1'), 200, 'a password in a file lets in');
    is(login($nginx, 'user-2'), 401, '... no other one');

    rotate($_, "$_-2\n") for qw(id secret param claim user);

    ok(comes($nginx, '/basic?scope=b', basic => 'id-2:secret-2'),
        'files that were replaced: Basic has what is in them');
    is(sent()->{other}, 'param-2', '... and the parameter');
    is(sent()->{scope}, 'b', '... beside the variable');

    $nginx->get('/all');
    is(sent()->{basic}, 'id-2:secret-2', '... where nothing else varies');
    is(sent()->{other}, 'param-2', '... and the parameter');
    $nginx->get('/post');
    is(sent()->{client_secret}, 'secret-2', '... client_secret_post');
    is(sent()->{client_id}, 'id-2', '... with the id');
    $nginx->get('/json');
    like(($endpoint->requests)[-1], qr/"other":"param-2"/, '... as JSON');
    $nginx->get('/hs');
    is(decode_jwt(sent()->{client_assertion})->{claims}{sub}, 'id-2',
        '... client_secret_jwt');
    $nginx->get('/grant');

    my $claims = decode_jwt(sent()->{assertion})->{claims};

    is($claims->{kind}, 'claim-2', '... a claim');
    is($claims->{iss}, 'id-2', '... and the issuer');

    soon { login($nginx, 'user-2') == 200 } '... a password';
    is(login($nginx, 'user-1'), 401, '... the old one lets in no more');

    for my $name (qw(id secret param claim user)) {
        my @lines = lines($nginx, 'notice', "$name\" of \"token_proxy_\\w+\" has changed");

        is(scalar(grep { !/"token_proxy_param"/ || $name eq 'param' } @lines) > 0, 1,
            "... and the log says it: $name");
    }

    no_secrets($nginx, qr/(?:secret|user|param)-[12]\b/);
}


# a file that is written to in place, slowly
{
    my $file = rotate('slow', 'slow-1');
    my $old = time - 60;

    utime $old, $old, "$dir/slow";

    my $nginx = Token::Server->new(http => 'token_proxy_client_id my-key;',
        server => location('basic', $endpoint->url, 'token_proxy_cache off',
            "token_proxy_client_secret $file"))->start;

    open my $out, '>', "$dir/slow" or die "slow: $!\n";
    $out->autoflush(1);
    print $out 'slow';
    $endpoint->reset;

    my $until = time + 1.2;

    while (time < $until) {
        $nginx->get('/basic');
        sleep 0.1;
    }

    print $out '-2';
    close $out;

    ok(comes($nginx, '/basic', basic => 'my-key:slow-2'),
        'a file that is written to in place: what is in it at the end is sent');
    is(scalar(grep { !/Basic (\S+)/ || decode_base64($1) !~ /:slow-[12]$/ }
        $endpoint->requests), 0, '... and no half of it');
}


# under load, with two workers and tokens of two seconds
{
    my $file = rotate('load', 'load-1');

    $endpoint->reset;
    $endpoint->answer(expires_in => 2, secrets => ['load-1', 'load-2']);

    my $nginx = Token::Server->new(workers => 2,
        http => zone() . "token_proxy_retry_backoff 1s 1s;",
        server => location('a', $endpoint->url,
            "token_proxy_client_secret $file"))->start;
    my $load = Token::Client->load($nginx->port, '/a', processes => 4,
        seconds => 60, gap => 0.005);

    soon { $endpoint->calls > 1 } 'under load';
    rotate('load', 'load-2');
    soon { (sent()->{basic} // '') eq 'my-key:load-2' }
        '... a secret is replaced, and a renewal uses it';

    # the old one is refused from now on; a worker may have to look yet
    sleep 1.2;
    $endpoint->answer(expires_in => 2, secrets => ['load-2']);

    my $calls = $endpoint->calls;

    soon { $endpoint->calls > $calls + 3 } '... and so on';

    my $result = $load->stop;

    is($result->{failed}, 0, '... no request has failed')
        or diag explain $result->{why};
    cmp_ok($result->{requests}, '>', 100, '... of many');
    is(scalar(grep { !/Basic (\S+)/ || decode_base64($1) !~ /:load-[12]$/ }
        $endpoint->requests),
        0, '... and no half of a secret was sent');

    $endpoint->answer;
}


# a change is no miss
{
    my $file = rotate('kept', 'kept-1');
    my $other = rotate('other', 'kept-1');
    my $name = $file =~ s/^file://r;

    $endpoint->reset;

    my $nginx = Token::Server->new(
        http => zone() . "map \$arg_x \$same { default \$arg_x; }",
        server => join '', map { location($_->[0], $endpoint->url, @$_[1 .. $#$_]) } (
            ['a', "token_proxy_client_secret $file"],
            ['again', "token_proxy_client_secret $file"],
            ['other', "token_proxy_client_secret $other"],
            ['named', 'token_proxy_client_secret $same'],
            ['mixed', "token_proxy_client_secret $file",
                'token_proxy_client_id $arg_id'],
            ['post', "token_proxy_client_secret $file",
                'token_proxy_auth_method client_secret_post'],
            ['post_named', 'token_proxy_client_secret $same',
                'token_proxy_auth_method client_secret_post'],
        ))->start;

    my $got = $nginx->get('/a');
    my $mixed = $nginx->get('/mixed?id=a');

    is(status($got), 'MISS', 'a token is fetched');
    is(status($nginx->get('/mixed?id=b')), 'MISS', '... one for each client');
    is(token($nginx->get('/again')), token($got), '... one for one file');
    another($nginx->get('/other'), token($got),
        '... another for another file');
    another($nginx->get("/named?x=$name"), token($got),
        '... and whoever sends the name of the file gets another');
    another($nginx->get('/post'), token($nginx->get("/post_named?x=$name")),
        '... in the form too');

    my $calls = $endpoint->calls;

    rotate('kept', 'kept-2');
    sleep 2.2;
    is(status($nginx->get('/a')), 'HIT', 'the secret changes: the token stays');
    is(token($nginx->get('/a')), token($got), '... the same');
    is(token($nginx->get('/mixed?id=a')), token($mixed), '... each the same');
    is($endpoint->calls, $calls, '... without a call');
    is(scalar(lines($nginx, 'notice', 'has changed')), 0,
        '... the file is not looked at');

    is(status($nginx->get('/mixed?id=c')), 'MISS', 'another client');
    is(sent()->{basic}, 'c:kept-2', '... uses the new secret');

    $nginx->reload;
    is(status($nginx->get('/a')), 'HIT', 'after a reload the token stays as well');
}


# Kubernetes: file -> ..data/file, ..data -> a directory that is replaced
{
    mkdir "$dir/volume";
    version('..1', 'volume-1');
    symlink '..1', "$dir/volume/..data" or die;
    symlink '..data/secret', "$dir/volume/secret" or die;

    my $nginx = plain("file:$dir/volume/secret");

    is(asked($nginx), 'volume-1', 'a volume of Kubernetes');
    version('..2', 'volume-2');
    symlink '..2', "$dir/volume/..new" or die;
    rename "$dir/volume/..new", "$dir/volume/..data" or die;
    unlink "$dir/volume/..1/secret";
    ok(comes($nginx, '/a', basic => 'my-key:volume-2'),
        '... whose directory is swapped');
    is(scalar(lines($nginx, 'warn', 'volume')), 0, '... without a warning');
}


# what is of no use
{
    my $nginx = plain(rotate('bad', 'good-1'));

    is(asked($nginx), 'good-1', 'a good file');

    for ([empty => '', 'is empty'], ['a newline alone' => "\n", 'is empty', 2],
        ['two lines' => "half\nof it", 'contains a newline'],
        ['a NUL' => "ha\0lf", 'contains a NUL'],
        ['a control character' => "ha\tlf", 'contains a character outside'],
        ['too large' => 'x' x 70_000, 'is too large'],
        [gone => undef, 'failed'], ['a directory' => \1, 'is not a file'])
    {
        my ($name, $content, $wrong, $n) = (@$_, 1);

        unlink "$dir/bad";
        mkdir "$dir/bad" if ref $content;
        rotate('bad', $content) if defined $content && !ref $content;

        my @lines;

        soon { asked($nginx);
            @lines = lines($nginx, 'warn', "bad\" of \"token_proxy_client_secret\" $wrong");
            @lines == $n } "$name: a warning";

        for (1 .. 3) {
            sleep 1.1;
            is(asked($nginx), 'good-1', '... the good one is used') if $_ == 3;
            asked($nginx);
        }

        is(scalar(lines($nginx, 'warn', "bad\" of .* $wrong")), $n, '... one warning');
        rmdir "$dir/bad" if ref $content;
    }

    rotate('bad', 'good-2');
    ok(comes($nginx, '/a', basic => 'my-key:good-2'), '... until there is a good one');

    # not replaced but written to
    spew("$dir/bad", 'good-3');
    ok(comes($nginx, '/a', basic => 'my-key:good-3'), 'a file that is written to');

    sleep 1.5;
    sleep 1.01 + int(time) - time;
    spew("$dir/bad", 'good-4');
    asked($nginx);
    spew("$dir/bad", 'good-5');
    ok(comes($nginx, '/a', basic => 'my-key:good-5'), '... twice in a second');

    like((lines($nginx, 'warn', 'is empty'))[0],
        qr/what was read before is used/, 'the warning says what is used');
}


SKIP: {
    skip 'only root has workers of another user', 12 if $> != 0;
    skip 'another user cannot get to the directory', 12
        if system("su -s /bin/sh nobody -c 'test -x $dir' 2>/dev/null") != 0;

    my $nginx = plain(rotate('root', 'root-1'), user => 'nobody nogroup');

    is(asked($nginx), 'root-1', 'a file for root alone: read at the start');
    rotate('root', 'root-2');

    soon { asked($nginx);
        lines($nginx, 'warn', 'root" of .*failed.*\(13: ') }
        '... when it changes, a worker says that it may not read it';
    sleep 2.2;
    is(asked($nginx), 'root-1', '... and uses what was read at the start');
    is(scalar(lines($nginx, 'warn', 'root" of ')), 1, '... one warning');

    $nginx->reload;
    is(asked($nginx), 'root-2', '... a reload reads it again');

    rotate('root', 'root-3');
    chmod 0644, "$dir/root";
    ok(comes($nginx, '/a', basic => 'my-key:root-3'),
        'one that the worker may read is read again');

    spew("$dir/.new", 'root-4');
    chmod 0600, "$dir/.new";
    utime 1e9, 1e9, "$dir/.new";
    rename "$dir/.new", "$dir/root";

    soon { asked($nginx);
        lines($nginx, 'warn', 'root" of .*failed.*\(13: ') == 2 }
        'another one is for root alone when it is put into place';
    chmod 0644, "$dir/root";
    ok(comes($nginx, '/a', basic => 'my-key:root-4'),
        '... and is read as soon as the worker may read it');

    mkdir "$dir/closed";
    spew("$dir/closed/secret", 'closed-1');
    chmod 0700, "$dir/closed";
    $nginx = plain("file:$dir/closed/secret", user => 'nobody nogroup');
    is(asked($nginx), 'closed-1', 'a directory for root alone');
    spew("$dir/closed/secret", 'closed-22');
    sleep 1.2;
    asked($nginx);
    sleep 1.2;
    is(asked($nginx), 'closed-1', '... what was read at the start is used');
    is(scalar(lines($nginx, 'warn', 'closed.*what was read before')), 0, '... without a warning');
    $nginx->reload;
    is(asked($nginx), 'closed-22', '... until a reload');
}


# keys
{
    key($_ => "$_.1"), key($_ => "$_.2") for qw(ES256 RS256);
    key('ES384', 'ES384.1');
    replace('ES256.1', 'signer');

    my $nginx = Token::Server->new(
        http => zone() . "token_proxy_private_key $dir/signer;",
        server => join '', map { location($_->[0], $endpoint->url,
            'token_proxy_auth_method private_key_jwt' . ($_->[2] // ''),
            'token_proxy_cache ' . $_->[1]) }
            (['a', 'off'], ['cached', 'tokens'], ['es', 'off', ' alg=ES256']))->start;

    ok(signed($nginx, 'ES256', 'ES256.1'), 'a key of the start');

    my $got = $nginx->get('/cached');

    replace('ES256.2', 'signer');
    soon { signed($nginx, 'ES256', 'ES256.2') } 'a key that was replaced';
    ok(!signed($nginx, 'ES256', 'ES256.1'), '... signs alone');
    is(token($nginx->get('/cached')), token($got), '... the token in the cache stays');

    chmod 0600, spew("$dir/.half", "-----BEGIN PRIVATE KEY-----\nMIG");
    rename "$dir/.half", "$dir/signer";

    soon { signed($nginx, 'ES256', 'ES256.2');
        lines($nginx, 'warn', 'signer" of "token_proxy_private_key" is not a PEM') }
        'half a key: a warning';
    sleep 2.2;
    ok(signed($nginx, 'ES256', 'ES256.2'), '... the good one signs');
    is(scalar(lines($nginx, 'warn', 'signer" of ')), 1, '... one warning');

    replace('RS256.1', 'signer');
    soon { signed($nginx, 'ES256', 'ES256.2');
        lines($nginx, 'warn', 'signer" of .* does not fit the algorithm') }
        'a key that a location cannot use: a warning';
    ok(signed($nginx, 'ES256', 'ES256.2'), '... the good one signs');

    $nginx->configure(server => location('a', $endpoint->url,
        'token_proxy_auth_method private_key_jwt', 'token_proxy_cache off'));
    $nginx->reload;
    ok(signed($nginx, 'RS256', 'RS256.1'), 'without alg=');
    replace('ES384.1', 'signer');
    soon { signed($nginx, 'ES384', 'ES384.1') }
        '... another type of key signs by its algorithm';

    no_secrets($nginx);
}


sub login {
    my ($nginx, $password) = @_;

    return $nginx->get('/user', Authorization => 'Basic '
        . MIME::Base64::encode_base64("u:$password", ''))->{status};
}


sub plain {
    my ($secret, %options) = @_;

    return Token::Server->new(http => zone(), %options,
        server => location('a', $endpoint->url, 'token_proxy_cache off',
            "token_proxy_client_secret $secret"))->start;
}


# The secret that a request of it brings to the endpoint.
sub asked {
    my ($nginx) = @_;

    $endpoint->reset;
    $nginx->get('/a');
    return (sent()->{basic} // '') =~ s/^my-key://r;
}


sub version {
    my ($name, $secret) = @_;

    mkdir "$dir/volume/$name" or die "$name: $!\n";
    chmod 0600, spew("$dir/volume/$name/secret", "$secret\n");
    return;
}


sub key {
    my ($alg, $name) = @_;
    my $how = { ES256 => 'EC -pkeyopt ec_paramgen_curve:P-256',
        ES384 => 'EC -pkeyopt ec_paramgen_curve:P-384',
        RS256 => 'RSA -pkeyopt rsa_keygen_bits:2048' }->{$alg};
    my $output = `openssl genpkey -algorithm $how -out $dir/$name 2>&1`;

    die "$alg: $output\n" if $?;
    chmod 0600, "$dir/$name";
    `openssl pkey -in $dir/$name -pubout -out $dir/$name.pub`;
    return;
}


sub replace {
    my ($from, $to) = @_;

    system("cp -p $dir/$from $dir/.new && mv $dir/.new $dir/$to") == 0 or die;
    return;
}


sub signed {
    my ($nginx, $alg, $key) = @_;

    $endpoint->reset;
    $nginx->get('/a');
    return verified(decode_jwt(sent()->{client_assertion}), $alg, "$dir/$key.pub");
}
