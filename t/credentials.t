# Where credentials come from, what nginx -t says when they are wrong, and that
# they survive a reload and a binary upgrade.

use strict;
use warnings;

use lib 't/lib';
use MIME::Base64 qw(encode_base64);
use Test::More tests => 203;
use Token::Endpoint;
use Token::Server;
use Token::Util qw(work_dir slurp spew wait_for);

delete @ENV{grep { /^TOKEN_TEST_|^CONSUMER_/ } keys %ENV};

my $dir = work_dir();
my $endpoint = Token::Endpoint->new;

# A server whose token location has these lines.
sub server {
    my ($lines, %env) = @_;

    return Token::Server->new(env => \%env, server => <<"END");
        location = /token {
            token_proxy           on;
            token_proxy_endpoint  @{[$endpoint->url]};
            $lines
        }
END
}


# What arrives as id and secret when a token is asked for.
sub credentials {
    my ($nginx) = @_;

    $endpoint->reset;

    my $answer = $nginx->get('/token');
    my ($request) = $endpoint->requests or return "status $answer->{status}";

    return $request =~ /^Authorization: Basic (\S+)\r$/m
        ? MIME::Base64::decode_base64($1) : $request;
}


sub file {
    my ($name, $content, $mode) = @_;

    spew("$dir/$name", $content);
    chmod $mode // 0600, "$dir/$name";
    return "file:$dir/$name";
}


sub line_of {
    my ($nginx, $what) = @_;
    my @lines = split /\n/, slurp($nginx->dir . '/conf/nginx.conf');
    my ($n) = grep { $lines[$_] =~ $what } 0 .. $#lines;

    return $n + 1;
}


# nginx -t fails with a message about the directive in its line.
sub fails {
    my ($name, $directive, $value, $message, %env) = @_;
    my $other = $directive =~ /secret/ ? 'token_proxy_client_id k;'
        : 'token_proxy_client_secret s;';
    my $nginx = server("$other\n$directive $value;", %env);
    my ($status, $output) = $nginx->test;
    my $line = line_of($nginx, qr/^\s*\Q$directive\E/) + ($value =~ tr/\n//);

    isnt($status, 0, "$name: nginx -t fails");
    like($output,
        qr/\[emerg\] .*$message.* in \S+nginx\.conf:$line\n/,
        "$name: the message");
    like($output, qr/\[emerg\] .*\Q$directive\E/, "$name: the directive");

    for my $secret ('se-cret', values %env) {
        unlike($output, qr/\Q$secret\E/, "$name: no value")
            if length $secret;
    }
}

my $long = 'x' x 70000;

for my $directive (qw(token_proxy_client_id token_proxy_client_secret)) {
    my $short = $directive =~ s/token_proxy_client_//r;

    fails("$short: no such variable", $directive, 'env:TOKEN_TEST_NONE',
        'environment variable "TOKEN_TEST_NONE" of');
    fails("$short: an empty variable", $directive, 'env:TOKEN_TEST_V',
        'is empty', TOKEN_TEST_V => '');
    fails("$short: a newline in a variable", $directive, 'env:TOKEN_TEST_V',
        'contains a newline', TOKEN_TEST_V => "se-cret\nmore");
    fails("$short: a control character", $directive, 'env:TOKEN_TEST_V',
        'contains a character outside', TOKEN_TEST_V => "se-cret\tmore");
    fails("$short: a character that is not ASCII", $directive,
        'env:TOKEN_TEST_V', 'contains a character outside',
        TOKEN_TEST_V => "se-cret\xc3\xa9");
    fails("$short: no name of a variable", $directive, 'env:',
        'needs the name of a variable');
    fails("$short: no such file", $directive, "file:$dir/none",
        "open\\(\\) \"$dir/none\" of .* failed \\(2: No such file");
    fails("$short: no path", $directive, 'file:', 'needs a path');
    fails("$short: a directory", $directive, "file:$dir", 'is not a file');
    fails("$short: an empty file", $directive, file('empty', ''), 'is empty');
    fails("$short: a file with a newline alone", $directive,
        file('newline', "\n"), 'is empty');
    fails("$short: a file with two lines", $directive,
        file('lines', "se-cret\nmore\n"), 'contains a newline');
    fails("$short: a file with an empty line at its end", $directive,
        file('lines2', "se-cret\n\n"), 'contains a newline');
    fails("$short: a file with a NUL", $directive,
        file('nul', "se-cret\0more\n"), 'contains a NUL');
    fails("$short: a file that is too large", $directive,
        file('large', "se-cret$long"), 'is too large');
    fails("$short: an empty literal", $directive, '""', 'is empty');
    fails("$short: a literal with a newline", $directive, "\"se-cret\nmore\"",
        'contains a newline');
}

fails('a colon in the id', 'token_proxy_client_id', 'se-cret:a',
    'contains a colon');
fails('a colon in the id from a variable', 'token_proxy_client_id',
    'env:TOKEN_TEST_V', 'contains a colon', TOKEN_TEST_V => 'se-cret:a');


# The place of a wrong default is that of the location.
{
    my $nginx = server('');
    my ($status, $output) = $nginx->test;
    my $line = line_of($nginx, qr/token_proxy +on/);

    isnt($status, 0, 'no default: nginx -t fails');
    like($output, qr/environment variable "CONSUMER_KEY" of "token_proxy_client_id" is not set: a command by hand needs it as the service does in \S+nginx\.conf:$line\n/,
        'no default id: the message');

    $nginx = server('', CONSUMER_KEY => 'k');
    ($status, $output) = $nginx->test;
    like($output, qr/environment variable "CONSUMER_SECRET" of "token_proxy_client_secret" is not set/,
        'no default secret: the message');
}


# A location without token_proxy needs no credentials.
{
    my ($status, $output) = Token::Server->new(server => '')->test;

    is($status, 0, 'without a token location: no credentials needed');
}


# How values are read.
{
    my $nginx = server('', CONSUMER_KEY => 'a key', CONSUMER_SECRET => 'a secret');

    is(credentials($nginx->start), 'a key:a secret', 'defaults: CONSUMER_KEY, CONSUMER_SECRET');
    $nginx->stop;

    for my $case (
        ['as it is', 'in-file', 'in-file'],
        ['with a newline', "in-file\n", 'in-file'],
        ['with a DOS newline', "in-file\r\n", 'in-file'],
        ['with spaces, which belong to it', " in file \n", ' in file '],
        ['that looks like a value', "env:PATH\n", 'env:PATH'],
        ['with a dollar sign', "\$host\n", '$host'],
    ) {
        my ($name, $content, $secret) = @$case;

        $nginx = server('token_proxy_client_id k; token_proxy_client_secret '
            . file('secret', $content) . ';');
        is(credentials($nginx->start), "k:$secret", "a file $name");
        $nginx->stop;
    }

    spew($nginx->dir . '/conf/relative', "beside\n");
    chmod 0600, $nginx->dir . '/conf/relative';
    $nginx->configure(server => $nginx->{server} =~ s{file:\S+;}{file:relative;}r);
    is(credentials($nginx->start), 'k:beside', 'a path beside nginx.conf');
    $nginx->stop;

    $nginx = server('token_proxy_client_id env:TOKEN_TEST_V;'
        . 'token_proxy_client_secret $value;', TOKEN_TEST_V => '$host:file:a' =~ tr/://dr);
    $nginx->configure(http => 'map a $value { default "of a map"; }');
    is(credentials($nginx->start), '$hostfilea:of a map', 'a variable of the environment is no template; a map is one');
    $nginx->stop;

    $nginx = server('token_proxy_auth_method client_secret_basic encoding=form;'
        . 'token_proxy_client_id a:b; token_proxy_client_secret s;');
    is(credentials($nginx->start), 'a%3Ab:s', 'a colon in the id, form-encoded');
    $nginx->stop;
}


# Inheritance.
{
    my $nginx = Token::Server->new(
        http => 'token_proxy_client_id outer; token_proxy_client_secret outer;',
        server => <<"END");
        token_proxy_client_id  middle;
        location = /token {
            token_proxy                on;
            token_proxy_endpoint       @{[$endpoint->url]};
            token_proxy_client_secret  inner;
        }
END
    is(credentials($nginx->start), 'middle:inner', 'credentials of three levels');
    $nginx->stop;
}


# Who can read a file.
for my $case ([0600, 0], [0640, 0], [0644, 1], [0604, 1]) {
    my ($mode, $warned) = @$case;
    my $nginx = server('token_proxy_client_id k; token_proxy_client_secret '
        . file('mode', "s\n", $mode) . ';');
    my ($status, $output) = $nginx->test;
    my $line = line_of($nginx, qr/token_proxy_client_secret/);
    my $name = sprintf 'a file of mode %04o', $mode;

    is($status, 0, "$name: no error");

    if ($warned) {
        like($output, qr/\[warn\] .*"$dir\/mode" of "token_proxy_client_secret" can be read by every user in \S+nginx\.conf:$line\n/,
            "$name: a warning");
    } else {
        unlike($output, qr/\[warn\]/, "$name: no warning");
    }
}


# Reload.
{
    my $nginx = server('token_proxy_client_id env:TOKEN_TEST_KEY;'
        . 'token_proxy_client_secret ' . file('rotated', "first\n") . ';',
        TOKEN_TEST_KEY => 'k');

    is(credentials($nginx->start), 'k:first', 'before a reload');

    file('rotated', "second\n");
    is(credentials($nginx), 'k:first', 'a file is read once');

    $nginx->reload;
    is(credentials($nginx), 'k:second', 'a reload reads it again, and keeps the variable of the environment');

    $nginx->reload for 1 .. 2;
    is(credentials($nginx), 'k:second', 'after more reloads');

    my @workers = $nginx->workers;
    file('rotated', '');
    kill HUP => $nginx->pid;
    ok(wait_for { $nginx->error_log =~ /\[emerg\].*the value of "token_proxy_client_secret" is empty/ },
        'a reload with an empty file fails');
    is(credentials($nginx), 'k:second', 'and nginx goes on as before');
    is_deeply([$nginx->workers], \@workers, 'with the same workers');

    # The environment of a master cannot be changed from outside; a variable
    # that is asked for later must be in it from the start.
    file('rotated', "third\n");
    $nginx->configure(server => $nginx->{server} =~ s/TOKEN_TEST_KEY/TOKEN_TEST_NONE/r);
    kill HUP => $nginx->pid;
    ok(wait_for { $nginx->error_log =~ /\[emerg\].*"TOKEN_TEST_NONE" of "token_proxy_client_id" is not set/ },
        'a reload with a variable that is not set fails');
    is(credentials($nginx), 'k:second', 'and nginx goes on as before');

    my @logged = grep { /\b(?:first|second|third)\b/ } split /\n/, $nginx->error_log;
    is("@logged", '', 'no value in the log');
    $nginx->stop;
}


# Binary upgrade: the new nginx gets the variables without an "env" directive.
for my $main ('', 'env TOKEN_TEST_KEY; env TOKEN_TEST_OTHER=value;',
    'env TOKEN_TEST_SECRET;')
{
    my $name = $main || 'no env directive';
    my $nginx = server('token_proxy_client_id env:TOKEN_TEST_KEY;'
        . 'token_proxy_client_secret env:TOKEN_TEST_SECRET;',
        TOKEN_TEST_KEY => 'k', TOKEN_TEST_SECRET => 'kept secret',
        TOKEN_TEST_KEY2 => 'another');

    $nginx->configure(main => $main);
    is(credentials($nginx->start), 'k:kept secret', "$name: before the upgrade");

    # What the test has is not what an init system would have.
    my $old = $nginx->pid;
    $nginx->upgrade;
    isnt($nginx->pid, $old, "$name: another nginx");
    is(credentials($nginx), 'k:kept secret', "$name: after the upgrade");

    $nginx->reload;
    is(credentials($nginx), 'k:kept secret', "$name: and after a reload");

    $nginx->upgrade;
    is(credentials($nginx), 'k:kept secret', "$name: after another upgrade");

    my @logged = grep { /kept secret/ } split /\n/, $nginx->error_log;
    is("@logged", '', "$name: no value in the log");
    $nginx->stop;
}


# A variable with which another one's name begins.
{
    my $nginx = server('token_proxy_client_id env:TOKEN_TEST_KEY2;'
        . 'token_proxy_client_secret env:TOKEN_TEST_KEY;',
        TOKEN_TEST_KEY => 'short', TOKEN_TEST_KEY2 => 'long');

    $nginx->start->upgrade;
    is(credentials($nginx), 'long:short', 'names that begin alike, after an upgrade');
    $nginx->stop;
}
