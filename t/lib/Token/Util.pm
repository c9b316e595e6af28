package Token::Util;

# What the other helpers share: the nginx under test, directories, ports.

use strict;
use warnings;

use Exporter qw(import);
use Cwd qw(abs_path);
use File::Basename qw(basename dirname);
use File::Find qw(find);
use File::Path qw(make_path remove_tree);
use IO::Socket::INET;
use POSIX ();
use Socket qw(AF_UNIX SOCK_DGRAM pack_sockaddr_un);
use Test::Builder;
use Time::HiRes qw(sleep time);
use version;

our @EXPORT_OK = qw($ROOT $NGINX $MODULE free_port work_dir wait_for settled
    slurp slurp_or_empty spew nginx_since sources source need_npm end_child
    output_of preload configured build_module);

our $ROOT;

# Where build.sh puts Test::Nginx if the system has none.
BEGIN {
    $ROOT = abs_path(dirname(__FILE__) . '/../../..');
    push @INC, grep { -d } map { "$ROOT/build/testlib/$_" }
        'usr/share/perl5', 'lib/perl5';
}

# build.sh sets these; the defaults are for a plain "prove t/some.t".
our $MODULE = $ENV{TEST_NGINX_LOAD_MODULES}
    //= "$ROOT/build/ngx_http_token_module.so";
our $NGINX = $ENV{TEST_NGINX_BINARY} //= '/usr/sbin/nginx';
our $WORK = $ENV{TEST_NGINX_WORK} //= "$ROOT/build/tests";

# An nginx that has become a daemon is waited for here, rather than whenever
# process 1 gets to it: prctl(PR_SET_CHILD_SUBREAPER, 1).
my $prctl = { x86_64 => 157, aarch64 => 167 }->{ (POSIX::uname())[4] };
syscall($prctl, 36, 1, 0, 0, 0) if $^O eq 'linux' && $prctl;

my $owner = $$;
my @dirs;
my %ports;
my $nginx_version;


# A free TCP port below the range that the system takes for connections. No test
# that runs beside this one gets it: a name among the abstract sockets is taken
# for as long as this process lives.
sub free_port {
    for (1 .. 1000) {
        my $port = 10000 + int rand 20000;

        socket my $name, AF_UNIX, SOCK_DGRAM, 0 or die "socket: $!\n";
        bind $name, pack_sockaddr_un("\0ngx_http_token_test_$port") or next;

        my $socket = IO::Socket::INET->new(
            LocalAddr => '127.0.0.1', LocalPort => $port,
            Proto => 'tcp', Listen => 1, ReuseAddr => 1) or next;

        close $socket;
        $ports{$port} = $name;
        return $port;
    }

    die "no free port\n";
}


# An empty directory for this test; kept when the test fails.
sub work_dir {
    my $name = basename($0, '.t') . "-$$-" . @dirs;
    my $dir = "$WORK/$name";

    remove_tree($dir);
    make_path($dir);
    push @dirs, $dir;

    return $dir;
}


# wait_for { condition } [seconds]: what the condition came to in the end.
sub wait_for (&;$) {
    my ($condition, $seconds) = @_;
    my $end = time + ($seconds // 5);
    my $value;

    until ($value = $condition->()) {
        return $value if time > $end;
        sleep 0.02;
    }

    return $value;
}


# settled { number }: what it is when it has not changed for a second.
sub settled (&) {
    my ($number) = @_;
    my ($last, $since) = ($number->(), time);

    wait_for {
        my $now = $number->();

        ($last, $since) = ($now, time) if $now != $last;
        time - $since > 1;
    } 10;

    return $last;
}


# nginx_since '1.29.0': whether the nginx under test is that version or a later
# one.
sub nginx_since {
    my ($version) = @_;

    $nginx_version //= `$NGINX -v 2>&1` =~ m{nginx/([\d.]+)} ? $1 : '0';
    return version->parse("v$nginx_version") >= version->parse("v$version");
}


# The end of a process that the test has started and keeps as a hash with its
# "pid" and its "owner". In a child of the test's, it is not its own.
sub end_child {
    my ($child) = @_;

    if ($child->{pid} && $child->{owner} == $$) {
        local ($?, $!);

        kill KILL => $child->{pid};
        waitpid $child->{pid}, 0;
        $child->{pid} = 0;
    }

    return;
}


# A test that reads a file which is not there has lost what it tests.
sub slurp {
    my ($file) = @_;

    open my $in, '<:raw', $file or die "$file: $!\n";
    local $/;
    return scalar(<$in>) // '';
}


# For what may not be there yet, or any more: a pid file, a process.
sub slurp_or_empty {
    my ($file) = @_;

    return eval { slurp($file) } // '';
}


# All sources of the module (.c) in whatever folder, as many as "config" names
# and no others.
sub sources {
    my %named = map { $_ => 1 } slurp("$ROOT/config") =~ m{/(ngx_http_token_\w+\.c)\b}g;
    my %found;

    find({ no_chdir => 1, wanted => sub {
        push @{ $found{ basename($_) } }, $_ if /\.c$/;
    }}, "$ROOT/ngx_http_token_module");

    my @wrong = sort((grep { !$found{$_} } keys %named),
        grep { !$named{$_} || @{ $found{$_} } > 1 } keys %found);

    die "not once in \"config\" and once in ngx_http_token_module/: @wrong\n"
        if @wrong;
    die "fewer than 20 sources\n" if keys %found < 20;

    my @sources = sort map { @$_ } values %found;

    return @sources;
}


# source 'ngx_http_token_x.c': its text, in whatever folder it is.
sub source {
    my ($name) = @_;
    my ($file) = grep { basename($_) eq $name } sources();

    return slurp($file // die "no source $name\n");
}


# need_npm 'oidc-provider', ...: the test is skipped, and says why, where these
# packages are missing, since npm could not be reached.
sub need_npm {
    my @missing = grep { !-d "$ROOT/t/node_modules/$_" } @_;

    Test::Builder->new->skip_all("no @missing in t/node_modules: "
        . '"npm ci" has not installed it') if @missing;
    return;
}


# What a command of the shell says; the test dies if it fails.
sub output_of {
    my ($command) = @_;
    my $output = `$command 2>&1`;

    die "$command: $output\n" if $?;
    return $output;
}


# Where build.sh has configured nginx's sources, and the options of a compiler for
# its headers; nothing if there is no such place.
sub configured {
    my ($tree) = grep { -f "$_/objs/ngx_auto_config.h" }
        map { dirname($MODULE) . "/$_" } 'installed/tree', 'tree';

    return if !$tree;

    my ($includes) = slurp("$tree/objs/Makefile") =~ /^ALL_INCS = ((?:.*\\\n)*.*)/m;

    return ($tree, $includes =~ s/\\\n//gr);
}


# A module of a test's own, from its source below t/: what the compiler said.
sub build_module {
    my ($source, $library) = @_;
    my ($tree, $includes) = configured();

    return scalar `cd '$tree' && cc -shared -fPIC $includes -o '$library' '$ROOT/t/$source' 2>&1`;
}


# A library that is loaded into nginx (LD_PRELOAD), made in a directory that
# workers of another user may read; undef where there is no compiler.
sub preload {
    my ($source, $dir) = @_;
    my $library = "$dir/" . basename($source, '.c') . '.so';
    my ($compiler) = grep { system("$_ --version > /dev/null 2>&1") == 0 }
        qw(gcc clang);

    return undef if !$compiler;

    my $output = `$compiler -Wall -Wextra -O1 -fPIC -shared -o $library $source 2>&1`;

    die "$source: $output\n" if $? || length $output;

    chmod 0755, $dir;
    return $library;
}


sub spew {
    my ($file, @content) = @_;

    open my $out, '>:raw', $file or die "$file: $!\n";
    print $out @content;
    close $out or die "$file: $!\n";
    return $file;
}


END {
    if ($$ == $owner && $? == 0 && Test::Builder->new->is_passing) {
        remove_tree($_) for @dirs;
    }
}

1;
