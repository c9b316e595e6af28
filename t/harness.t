# The tests' own net: a block fails when nginx writes a secret or a token,
# whichever way it got out, and no test passes when what it tests has gone.

use strict;
use warnings;
use lib 't/lib';

use File::Path qw(make_path);
use Test::More;
use Token::Util qw($ROOT slurp slurp_or_empty sources source spew work_dir);

my @files = sort glob "$ROOT/t/*.t";

plan(tests => 24 + @files);

my $LIB = 't/lib';
my $PLAIN = 'proxy_pass $TEST_NGINX_ENDPOINT/ok;';

ok(passes(2, $PLAIN), 'nothing is written');
ok(!passes(3, $PLAIN), '... by two checks, not three');
ok(!passes(1, $PLAIN), '... nor one');
ok(!passes(2, "$PLAIN proxy_set_header Authorization "
    . '"Basic bXkta2V5Om15LXNlY3JldA==";'), 'the Basic value in the error log');
ok(!passes(2, "$PLAIN proxy_set_header X-Secret my-secret;"),
    'the secret in the error log');
ok(!passes(2, "$PLAIN proxy_store \$TEST_NGINX_SERVROOT/html/stored;"),
    'a token on disk');
ok(passes(1, "$PLAIN proxy_set_header X-Secret my-secret;",
    '--- secrets_in_log_ok'), 'a block may be without the check');
ok(passes(3, $PLAIN, '--- endpoint_calls: 1'), 'one call of the endpoint');
ok(!passes(3, $PLAIN, '--- endpoint_calls: 2'), '... is not two');


# what is not there
{
    my $missing = work_dir() . '/missing';

    is(eval { slurp($missing) }, undef, 'slurp() of no file dies');
    like($@, qr/^\Q$missing\E: No such file/, '... and says which');
    is(slurp_or_empty($missing), '', 'slurp_or_empty() is for those');
}


# sources
{
    my $root = work_dir();
    local $Token::Util::ROOT = $root;
    my @names = map { "ngx_http_token_$_.c" } 'a' .. 'x';
    my %folder = map { $_ => /[a-m]\.c/ ? 'conf/' : '' } @names;

    make_path("$root/ngx_http_token_module/conf");
    spew("$root/config", map { "\$dir/$folder{$_}$_ \\\n" } @names);
    spew("$root/ngx_http_token_module/$folder{$_}$_", $_) for @names;

    is(scalar(sources()), 24, 'sources are found in all folders');
    is(source('ngx_http_token_b.c'), 'ngx_http_token_b.c', '... each by its name');
    is(eval { source('ngx_http_token_y.c') }, undef, '... or the test dies');

    rename "$root/ngx_http_token_module/$names[-1]", "$root/$names[-1]";
    is(eval { scalar sources() }, undef, 'so it does when one has been moved away');
    spew("$root/ngx_http_token_module/$names[-1]", '');
    spew("$root/ngx_http_token_module/$names[0]", '');
    is(eval { scalar sources() }, undef, '... when there is one twice');

    spew("$root/config", map { "\$dir/$_ \\\n" } @names[0 .. 9]);
    unlink map { "$root/ngx_http_token_module/$folder{$_}$_" } @names[10 .. 23];
    unlink "$root/ngx_http_token_module/$names[0]";
    is(eval { scalar sources() }, undef, '... and when there are few');
}


# t/README.md
{
    my @examples = slurp("$ROOT/t/README.md") =~ /^```perl\n(.*?)^```$/msg;

    is(scalar(@examples), 2, 't/README.md has an example of each kind');
    ok(run_test($_), '... which passes') for @examples[0, 1];
}


# tests that are run again
{
    is(prove_twice(''), 0, 'scripts/prove.sh: a test that passes when it is run again');
    is(prove_twice('fails again'), 1, '... or does not');
    is(prove_twice('crashes'), 1, '... or passes then, after nginx has crashed');
}


# A plan; or a count of what has been gone through, where that depends on what
# there is and what is asked for.
for my $file (@files) {
    my $text = slurp($file);
    my $plan = $text =~ /^(?:use (?:Test::More|Token) tests => \d+;|plan\(tests => )/m
        && $text !~ /^done_testing\b|\bno_plan\b(?!\\)/m;

    $plan ||= $text =~ /^cmp_ok\(\$count, '>', \d+/m if $file =~ /callers_http2/;

    ok($plan, $file =~ s{.*/}{t/}r . ' says how many checks it has');
}


# The exit status of scripts/prove.sh for two tests, one of which fails at first.
sub prove_twice {
    my ($what) = @_;
    my $dir = work_dir();

    spew("$dir/a.t", "use Test::More tests => 1;\nok(1);\n");
    spew("$dir/b.t", <<"END");
use lib '$ROOT/t/lib';
use Test::More tests => 1;
use Token::Server;
use Token::Util qw(wait_for);

my \$nginx = Token::Server->new->start;
my \$first = mkdir '$dir/run';

if (\$first && '$what' eq 'crashes') {
    kill ABRT => (\$nginx->workers)[0];
    wait_for { \$nginx->error_log =~ /exited on signal/ };
}

ok(!\$first && '$what' ne 'fails again');
END

    local $ENV{TEST_NGINX_WORK} = work_dir();
    local $ENV{TEST_JOBS} = 2;
    system "$ROOT/scripts/prove.sh $dir/a.t $dir/b.t > $dir/output 2>&1";
    return $? >> 8;
}


# Whether a test of one block, with these lines in its location and so many
# checks, passes.
sub passes {
    my ($checks, $lines, @sections) = @_;

    return run_test(<<"END", map { "$_\n" } @sections);
use lib '$LIB';
use Token tests => $checks;

run_tests();

__DATA__

=== TEST 1: a location
--- config
    location = /token {
        $lines
    }
--- request
GET /token
END
}


sub run_test {
    my $test = spew(work_dir() . '/block.t', @_);

    local $ENV{TEST_NGINX_WORK} = work_dir();
    my $output = `$^X $test 2>&1`;
    return $? == 0 && $output =~ /^ok 1 /m && $output !~ /^not ok/m;
}
